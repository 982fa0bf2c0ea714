/** One engine in a new process, as after a restart: takes one JSON argument, prints the result as JSON on the last line. */
import { BatchedLinnet } from './batched-linnet.ts';
import { BatchedLlama } from './batched-llama.ts';
import type { Cost } from './cost.ts';

export interface RestartOptions {
  readonly engine: 'linnet' | 'llama.cpp';
  readonly way: 'save' | 'resume' | 'reread' | 'fork';
  readonly model: string;
  /** Path of the saved state. */
  readonly file: string;
  /** Tokens in the history, and in the turn. */
  readonly history: number;
  readonly turn: number;
  readonly streams: number;
  readonly steps: number;
  readonly threads: number;
}

export interface RestartResult extends Partial<Cost> {
  readonly peakMemoryBytes: number;
}

const [, , json] = process.argv;
if (json !== undefined) {
  const { engine: name, way, model, file, history, turn, streams, steps, threads } = JSON.parse(json) as RestartOptions;
  const longest = history + turn + streams + steps + 8;
  // llama.cpp's sequences take memory even when unused.
  const sequences = way === 'fork' ? streams : 1;
  await using engine =
    name === 'linnet'
      ? await BatchedLinnet.open(model, { streams, threads })
      : await BatchedLlama.open(model, { streams: sequences, longest, threads, folder: '.' });
  const ways: Readonly<Record<typeof way, () => Promise<Cost | undefined>>> = {
    save: async () => {
      await engine.save(file, history);
      return undefined;
    },
    resume: () => engine.resume(file, history, turn),
    reread: () => engine.reread(history, turn),
    fork: () => engine.fork(file, history, steps),
  };
  const result: RestartResult = { ...(await ways[way]()), peakMemoryBytes: 1024 * process.resourceUsage().maxRSS };
  console.log(JSON.stringify(result));
}
