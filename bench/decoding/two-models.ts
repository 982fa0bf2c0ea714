/**
 * The cost of a step in one model against another: single tokens at several contexts, and token trees. The two alternate step
 * by step in one process, and ratios compare neighboring steps, so a drifting or shared machine
 * treats both alike. It prints medians. With one thread, processor time covers the step alone.
 *
 *   npx tsx bench/decoding/two-models.ts FOLDER OTHER [--threads 1] [--turns 7] [--steps 6] [--contexts 64,65536] [--nodes 16]
 */
import { parseArgs } from 'node:util';
import { chain, type TokenTree } from '../../src/attention/tree.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { fillState } from '../../src/evaluation/speed/decoding-speed.ts';
import { randomTree } from '../../src/evaluation/speed/verification-speed.ts';
import { Random } from '../../src/random.ts';
import { openReady } from '../../test/open/ready-model.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1' },
    turns: { type: 'string', default: '7' },
    steps: { type: 'string', default: '6' },
    contexts: { type: 'string', default: '64,65536' },
    nodes: { type: 'string', default: '16' },
  },
});
const numbers = (list: string): number[] => (list === '' ? [] : list.split(',').map(Number));
const [threads, turns, steps] = [values.threads, values.turns, values.steps].map(Number);

interface Measured {
  readonly processor: number;
  readonly wall: number;
}

interface Case {
  readonly title: string;
  readonly context: number;
  readonly tree: TokenTree;
}

const random = new Random(7);
const cases: readonly Case[] = [
  ...numbers(values.contexts).map((context) => ({ title: `one token at ${context}`, context, tree: chain(1) })),
  ...numbers(values.nodes).map((nodes) => ({
    ...{ title: `a tree of ${nodes} nodes at 64`, context: 64, tree: randomTree(nodes, 6, random) },
  })),
];

/** Milliseconds to take a step and commit its root. */
async function measure(engine: StepEngine, state: SequenceState, tree: TokenTree): Promise<Measured> {
  const tokens = Int32Array.from({ length: tree.size }, () => random.integer(engine.model.sizes.vocabulary));
  const request = { state, tree, tokens, wanted: Array.from(tokens, (_, node) => node) };
  const [started, processor] = [performance.now(), process.cpuUsage()];
  const [output] = await engine.step([request]);
  await engine.commit(request, output, [0]);
  const { user, system } = process.cpuUsage(processor);
  return { processor: (user + system) / 1000, wall: performance.now() - started };
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1];

const engines = await Promise.all(positionals.map(async (folder) => (await openReady(folder, { threads })).engine));
if (engines.length !== 2) throw new Error('give two exported folders');
const samples = cases.map(() => engines.map((): Measured[] => []));
const bytes: number[] = [];
for (let turn = 0; turn < turns; turn++) {
  for (const [index, { context, tree }] of cases.entries()) {
    const states = engines.map((engine) => {
      const state = engine.newState();
      fillState(state, context, random);
      return state;
    });
    states.forEach((state, which) => {
      bytes[which] = state.bytes;
    });
    for (let step = 0; step <= steps; step++) {
      for (const which of (turn + step) % 2 === 0 ? [0, 1] : [1, 0]) {
        const measured = await measure(engines[which], states[which], tree);
        if (step > 0) samples[index][which].push(measured); // the first fills caches and buffers
      }
    }
  }
}

const print = (...cells: readonly string[]): void => void process.stdout.write(`| ${cells.join(' | ')} |\n`);
print(`${threads} threads`, 'processor ms', 'other', 'other / first', 'wall ms', 'other', 'other / first');
print(...Array<string>(7).fill('---'));
for (const [index, { title }] of cases.entries()) {
  const cells = (['processor', 'wall'] as const).flatMap((kind) => {
    const [first, other] = samples[index].map((measured) => measured.map((sample) => sample[kind]));
    const ratio = median(other.map((ms, step) => ms / first[step]));
    return [median(first).toFixed(1), median(other).toFixed(1), ratio.toFixed(3)];
  });
  print(title, ...cells);
}
const [state, otherState] = bytes.map((count) => (count / 2 ** 20).toFixed(1));
print('state, MiB', state, otherState, '', '', '', '');
for (const engine of engines) await engine.dispose();
