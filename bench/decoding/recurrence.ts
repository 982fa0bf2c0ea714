/**
 * The gated delta rule in one step of Qwen3.5-0.8B, 18 layers of 16 heads: by the runtime's operator, which replays committed rows on
 * each path of a tree, and by matrix products, which find the written values level by level. The two alternate; milliseconds,
 * lowest and median.
 *
 *   npx tsx bench/decoding/recurrence.ts [--threads 2] [--turns 25]
 */
import { parseArgs } from 'node:util';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { matmul } from '../../src/graph/ops/contraction.ts';
import { add, exp, mul, sub } from '../../src/graph/ops/elementwise.ts';
import { gather } from '../../src/graph/ops/indexing.ts';
import { concat, reshape, split, transpose } from '../../src/graph/ops/layout.ts';
import { deltaRecurrence } from '../../src/graph/ops/recurrence.ts';
import { elementCount, float32, tensor, type Tensor } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';

const { values } = parseArgs({
  options: { threads: { type: 'string', default: '2' }, turns: { type: 'string', default: '25' } },
});
const [layers, M, D] = [18, 16, 128];
const random = new Random(1);

class StepOfLayers {
  readonly graph = new Graph('layers');
  readonly feeds: Record<string, Tensor> = {};
  readonly outputs: string[] = [];

  input(name: string, ...shape: number[]): Value {
    this.feeds[name] = float32(
      shape,
      Float32Array.from({ length: elementCount(shape) }, () => 0.05 * random.normal()),
    );
    return this.graph.input(name, 'float32', shape);
  }

  indices(name: string, shape: readonly [number, number], below: number): Value {
    const all = Int32Array.from({ length: elementCount(shape) }, (_, i) => i % below);
    this.feeds[name] = tensor('int32', shape, all);
    return this.graph.input(name, 'int32', shape);
  }

  output(name: string, value: Value): void {
    this.graph.output(name, value);
    this.outputs.push(name);
  }
}

/** @param B texts @param T nodes per text @param X paths in all trees @param n rows per path, including committed ones @param R ring slots */
function replayed(B: number, T: number, X: number, n: number, R = 8): StepOfLayers {
  const step = new StepOfLayers();
  const rowsOfPaths = step.indices('rows', [X, n], B * (R + T));
  const nodesOfPaths = step.indices('nodes', [X, n], B * T);
  const places = step.indices('places', [B, T], X * n);
  for (let layer = 0; layer < layers; layer++) {
    const input = (name: string, ...shape: number[]): Value => step.input(`${name}.${layer}`, ...shape);
    const own = concat(
      [input('k', B * T, M * D), input('v', B * T, M * D), input('g', B * T, M), input('b', B * T, M)],
      1,
    );
    const rows = gather(concat([input('ring', B * R, M * (2 * D + 2)), own], 0), rowsOfPaths);
    const [keys, written, logs, gates] = split(rows, 2, [M * D, M * D, M, M]);
    const queries = gather(input('q', B * T, M * D), nodesOfPaths);
    const { mixed } = deltaRecurrence({ queries, keys, values: written, logs, gates }, input('S', X, M, D, D));
    step.output(`mixed.${layer}`, gather(reshape(mixed, [X * n, M * D]), places));
    step.output(`own.${layer}`, own);
  }
  return step;
}

/** @param levels tree depth @param R rows committed to a text since its last fold */
function byProducts(B: number, T: number, levels: number, R: number): StepOfLayers {
  const step = new StepOfLayers();
  const paths = step.input('paths', B, R + 3 * T, R + T);
  const mask = step.input('mask', B, 1, 2 * T, R + T);
  for (let layer = 0; layer < layers; layer++) {
    const input = (name: string, ...shape: number[]): Value => step.input(`${name}.${layer}`, ...shape);
    const rowsOf = (rows: Value): Value => transpose(rows, [0, 2, 1, 3]);
    const [ring, writtenOfRing] = [input('ring', B, M, R, D), input('held', B, M, R, D)];
    const keysAndQueries = rowsOf(concat([input('k', B, T, M, D), input('q', B, T, M, D)], 1)); // [B,M,2T,D]
    const [keys] = split(keysAndQueries, 2, [T, T]);
    const logs = concat([input('logs', B, R, M), input('g', B, T, M)], 1);
    const [toRows, toNodes] = split(transpose(matmul(paths, logs), [0, 2, 1]), 2, [R + T, 2 * T]);
    const columns = reshape(toNodes, [B, M, 2 * T, 1]);
    const decays = exp(add(sub(columns, reshape(toRows, [B, M, 1, R + T])), mask));
    const weights = mul(matmul(keysAndQueries, concat([ring, keys], 2), { transposeB: true }), decays);
    const held = mul(matmul(keysAndQueries, input('S', B, M, D, D)), exp(columns));
    const [heldByKeys, heldByQueries] = split(held, 2, [T, T]);
    const gates = rowsOf(input('b', B, T, M, 1));
    const missing = sub(rowsOf(input('v', B, T, M, D)), heldByKeys);
    const halves = (own: Value): readonly Value[] => split(matmul(weights, concat([writtenOfRing, own], 2)), 2, [T, T]);
    let written = mul(missing, gates);
    for (let level = 0; level < levels; level++) written = mul(sub(missing, halves(written)[0]), gates);
    step.output(`mixed.${layer}`, rowsOf(add(heldByQueries, halves(written)[1])));
    step.output(`written.${layer}`, written);
    step.output(`keys.${layer}`, keys);
  }
  return step;
}

const cases: Readonly<Record<string, readonly (readonly [name: string, step: () => StepOfLayers])[]>> = {
  'one token': [
    ['replayed, 4 rows before it', () => replayed(1, 1, 1, 5)],
    ['products, 8 rows', () => byProducts(1, 1, 1, 8)],
    ['products, 32 rows', () => byProducts(1, 1, 1, 32)],
  ],
  '16 texts': [
    ['replayed, 7 rows before each', () => replayed(16, 1, 16, 8)],
    ['replayed, none before', () => replayed(16, 1, 16, 1)],
    ['products, 8 rows', () => byProducts(16, 1, 1, 8)],
    ['products, 32 rows', () => byProducts(16, 1, 1, 32)],
  ],
  'tree of 16': [
    ['replayed, 9 paths of 9 rows', () => replayed(1, 16, 9, 9)],
    ['products, 32 rows, 5 levels', () => byProducts(1, 16, 5, 32)],
  ],
  'chain of 16': [
    ['replayed, 4 rows before it', () => replayed(1, 16, 1, 20)],
    ['products, 32 rows, 16 levels', () => byProducts(1, 16, 16, 32)],
  ],
};

for (const [what, forms] of Object.entries(cases)) {
  const runs = [];
  for (const [name, make] of forms) {
    const { graph, feeds, outputs } = make();
    const program = await compile(graph, { threads: Number(values.threads), spin: true });
    runs.push({ name, times: new Array<number>(), program, run: () => program.run(feeds, outputs) });
  }
  for (let turn = 0; turn < Number(values.turns); turn++) {
    for (const { run, times } of runs) {
      const started = performance.now();
      await run();
      times.push(performance.now() - started);
    }
  }
  for (const { name, times, program } of runs) {
    times.sort((a, b) => a - b);
    const [lowest, median] = [times[0], times[times.length >> 1]].map((ms) => ms.toFixed(1).padStart(7));
    console.log(`${what.padEnd(12)} ${name.padEnd(30)} ${lowest} ${median}`);
    await program.dispose();
  }
}
