/**
 * The cost of many texts in one step against one: milliseconds per round for 1, 4 and 16 sequences, the runtime's share of them, and
 * tokens per second relative to one sequence. No server can exceed this with that many streams. The sequence counts
 * alternate; medians over the turns.
 *
 *   npx tsx bench/decoding/rows.ts FOLDER [--rows 1,4,16] [--turns 9] [--threads 2] [--context 256] [--worker]
 *
 * With --worker the engine runs in its own thread, as in a server: "ours" is then the calling thread's work
 * apart from waiting, and the runtime's time includes messages to the thread and back.
 */
import { parseArgs } from 'node:util';
import { chain } from '../../src/attention/tree.ts';
import { fillState } from '../../src/evaluation/speed/decoding-speed.ts';
import { Random } from '../../src/random.ts';
import { openReady } from '../../test/open/ready-model.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '1,4,16' },
    turns: { type: 'string', default: '9' },
    threads: { type: 'string', default: '2' },
    context: { type: 'string', default: '256' },
    worker: { type: 'boolean', default: false },
  },
});
const counts = values.rows.split(',').map(Number);
const [turns, threads, context] = [values.turns, values.threads, values.context].map(Number);
const [folder = 'assets/tiny-llama'] = positionals;

await using exported = await openReady(folder, { threads, worker: values.worker });
const { engine } = exported;
const random = new Random(3);
const tree = chain(1);

/** Wall and processor time in the compiled step graph. */
let inRuntime = { wall: 0, processor: 0 };
const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const { program } = engine;
const run = program.run.bind(program);
program.run = async (feeds, fetch, kept) => {
  const [wall, processor] = [performance.now(), processorMs()];
  try {
    return await run(feeds, fetch, kept);
  } finally {
    inRuntime = { wall: performance.now() - wall, processor: processorMs() - processor };
  }
};

const cases = counts.map((count) => ({
  states: Array.from({ length: count }, () => {
    const state = engine.newState();
    fillState(state, context, random);
    return state;
  }),
  samples: new Array<{ wall: number; processor: number; outside: number; outsideProcessor: number }>(),
}));
for (let turn = 0; turn < turns; turn++) {
  for (const { states, samples } of cases) {
    for (let step = 0; step < 3; step++) {
      const [started, processor] = [performance.now(), processorMs()];
      const requests = states.map((state) => ({
        ...{ state, tree, tokens: [random.integer(engine.model.sizes.vocabulary)], wanted: [0] },
      }));
      const outputs = await engine.step(requests);
      for (const [b, request] of requests.entries()) await engine.commit(request, outputs[b], [0]);
      const all = { wall: performance.now() - started, processor: processorMs() - processor };
      if (step === 0) continue; // another sequence count has just filled the caches
      const outside = all.wall - inRuntime.wall;
      samples.push({ ...all, outside, outsideProcessor: all.processor - inRuntime.processor });
    }
  }
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1];
const fixed = (list: readonly number[]): string => median(list).toFixed(1);
process.stdout.write(
  '| sequences | ms | of it ours | processor ms | of it ours | tokens/s over 1 | by processor time |\n',
);
process.stdout.write(`|${'---|'.repeat(7)}\n`);
const [one] = cases;
cases.forEach(({ states, samples }) => {
  const over = (kind: 'wall' | 'processor'): string => {
    const ratios = samples.map((sample, index) => (one.samples[index][kind] * states.length) / sample[kind]);
    return (median(ratios) / one.states.length).toFixed(2);
  };
  const cells = [
    ...[String(states.length), fixed(samples.map(({ wall }) => wall)), fixed(samples.map(({ outside }) => outside))],
    ...[fixed(samples.map(({ processor }) => processor)), fixed(samples.map((s) => s.outsideProcessor))],
    ...[over('wall'), over('processor')],
  ];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
});
