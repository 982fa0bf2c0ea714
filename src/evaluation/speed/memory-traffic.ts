/**
 * How close decoding gets to the memory's limit: a step of one token must read every weight once, so tokens per second
 * cannot exceed read bandwidth over bytes of weights.
 */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { type ExportManifest, storageTypes } from '../../export/manifest.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { matmul, sum } from '../../graph/ops/contraction.ts';
import { max } from '../../graph/ops/reduce.ts';
import { tensor } from '../../graph/tensor.ts';
import { stepGraph } from '../../models/graphs/step-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { sharedTables, storedParameters, unreadable } from '../../quantization/sources.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions, type NamedTensors } from '../../runtime/compile.ts';
import { weightBytesOf } from '../../runtime/encoded-graph.ts';
import type { ProgramStatistics } from '../../runtime/program.ts';
import { fillState } from './decoding-speed.ts';
import { time } from './timing.ts';

/** Bytes of weights that a step of one token reads: all except lookup tables. */
export function weightBytesPerToken(
  { weightBytes }: Pick<ProgramStatistics, 'weightBytes'>,
  model: CausalModel,
  manifest: Pick<ExportManifest, 'dtype' | 'block'> | undefined,
): number {
  if (weightBytes !== undefined) return weightBytes;
  const { step } = storageTypes[manifest?.dtype ?? 'f32'];
  const shared = sharedTables((makeSource) => stepGraph(model, makeSource));
  const options = { block: manifest?.block, sharedTables: shared };
  const graph = stepGraph(model, (target) => storedParameters(step, target, unreadable, options));
  return weightBytesOf(graph);
}

/** Rows and columns of the matrix read to measure the bandwidth: 256 MB, far more than caches hold. */
const readShape: readonly [number, number] = [8192, 8192];

/** Ways of reading every number once. The fastest counts: no single one saturates every machine's memory. */
const readers: Readonly<Record<string, (x: Value, row: Value) => Value>> = {
  sum: (x) => sum(x, [1]),
  largest: (x) => max(x, [1]),
  product: (x, row) => matmul(row, x),
};

/** Bytes per second at which the engine reads memory sequentially, with its threads. */
export async function readBandwidth(options: Pick<CompileOptions, 'threads'> = {}): Promise<number> {
  const [rows, columns] = readShape;
  const x = tensor('float32', readShape, new Float32Array(rows * columns).fill(0.5));
  const row = tensor('float32', [1, rows], new Float32Array(rows).fill(1));
  let best = 0;
  for (const [name, read] of Object.entries(readers)) {
    const graph = new Graph(`read by ${name}`);
    const values = { x: graph.input('x', 'float32', readShape), row: graph.input('row', 'float32', [1, rows]) };
    graph.output('y', read(values.x, values.row));
    await using program = await compile(graph, { threads: options.threads });
    const feeds: NamedTensors = program.inputs.has('row') ? { x, row } : { x };
    const { minMs } = await time(() => program.run(feeds, ['y']), { runs: 5, warmup: 1 });
    best = Math.max(best, (1000 * x.data.byteLength) / minMs);
  }
  return best;
}

/**
 * Kernel milliseconds of a step after `tokens` tokens, and its ops by kind, longest first, with their counts.
 * @param engine opened with `profile`
 */
export async function stepProfile(engine: StepEngine, tokens: number) {
  const state = engine.newState();
  fillState(state, tokens, new Random(1));
  for (let step = 0; step < profiledSteps; step++) await engine.advance(state, step % engine.model.sizes.vocabulary);
  const measured = await engine.program.profile();
  // A small model's first steps run twice, so that their bits can be compared.
  const ops = measured.map(({ opType, runs, count, ms }) => ({ opType, count: count / runs, ms: ms / runs }));
  return { kernelMs: ops.reduce((total, { ms }) => total + ms, 0), ops };
}

const profiledSteps = 16;
