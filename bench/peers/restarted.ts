/** One engine in a new process, as after a restart: one JSON argument, the result as JSON on the last line. */
import { BatchedLinnet } from './batched-linnet.ts';
import { BatchedLlama } from './batched-llama.ts';
import type { Cost } from './cost.ts';

export const ways = ['save', 'resume', 'reread', 'fork'] as const;
type Way = (typeof ways)[number];

export interface RestartOptions {
  readonly engine: 'linnet' | 'llama.cpp';
  readonly way: Way;
  readonly model: string;
  /** Of the saved state. */
  readonly file: string;
  /** Tokens of the text that was read, and of the turn. */
  readonly history: number;
  readonly turn: number;
  readonly streams: number;
  readonly steps: number;
  readonly threads: number;
}

export interface RestartResult extends Partial<Cost> {
  readonly notes: string;
  readonly peakMemoryBytes: number;
}

type Ways = Readonly<Record<Way, () => Promise<Cost | undefined>>>;

async function linnetWays({ model, file, history, turn, streams, steps, threads }: RestartOptions) {
  const engine = await BatchedLinnet.open(model, { streams, threads });
  const ways: Ways = {
    save: async () => {
      await engine.save(file, history);
      return undefined;
    },
    resume: () => engine.resume(file, history, turn),
    reread: () => engine.reread(history, turn),
    fork: () => engine.fork(history, steps),
  };
  return { engine, ways, notes: 'Linnet' };
}

async function llamaWays({ way, model, file, history, turn, streams, steps, threads }: RestartOptions) {
  const longest = history + turn + streams + steps + 8;
  const folder = '.';
  const engine = await BatchedLlama.open(model, { streams: way === 'fork' ? streams : 1, longest, threads, folder });
  const ways: Ways = {
    save: async () => {
      await engine.save(file, history);
      return undefined;
    },
    resume: () => engine.resume(file, history, turn),
    reread: () => engine.reread(history, turn),
    fork: () => engine.fork(file, history, steps),
  };
  return { engine, ways, notes: engine.notes };
}

const [, , json] = process.argv;
if (json !== undefined) {
  const options = JSON.parse(json) as RestartOptions;
  const { engine, ways, notes } = await (options.engine === 'linnet' ? linnetWays(options) : llamaWays(options));
  const cost = await ways[options.way]();
  const result: RestartResult = { ...cost, notes, peakMemoryBytes: 1024 * process.resourceUsage().maxRSS };
  console.log(JSON.stringify(result));
  await engine[Symbol.asyncDispose]();
}
