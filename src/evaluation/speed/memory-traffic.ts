/**
 * How close decoding gets to the memory's limit: a step of one token must read every weight once, so tokens per
 * second cannot exceed read bandwidth over bytes of weights.
 */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { storageTypes } from '../../export/storage-types.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { lowerGraph } from '../../graph/onnx/lowering.ts';
import type { BlockSize } from '../../graph/ops/quantized.ts';
import { matmul, sum } from '../../graph/ops/contraction.ts';
import { max } from '../../graph/ops/reduce.ts';
import { bytesPerElement, elementCount, tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { stepGraph } from '../../models/graphs/step-graph.ts';
import type { RunningModel } from '../../open/running-model.ts';
import { sharedTables, storedParameters, unreadable, type WeightType } from '../../quantization/sources.ts';
import { compile, type CompileOptions, type NamedTensors } from '../../runtime/compile.ts';
import { time } from './timing.ts';

/**
 * Bytes of weights that a step of one token reads: all that are stored but the tables of which it only looks up a row.
 */
export function weightBytesPerToken(model: CausalModel, type: WeightType, block?: BlockSize): number {
  const tables = new Set<string>();
  const graph = stepGraph(model, (target) => {
    const source = storedParameters(type, target, unreadable, {
      block,
      sharedTables: sharedTables((makeSource) => stepGraph(model, makeSource)),
    });
    const { multiply, lookUp } = source;
    return {
      graph: target,
      parameter: (name, shape) => source.parameter(name, shape),
      multiply: (x, matrix) => {
        tables.delete(matrix.name);
        return multiply?.call(source, x, matrix);
      },
      lookUp: (tokens, table) => {
        tables.add(table.name);
        return lookUp?.call(source, tokens, table);
      },
    };
  });
  let bytes = 0;
  for (const { name, tensor: weight } of lowerGraph(graph, 'cpu').deferred ?? []) {
    const looked = [...tables].some((table) => name === table || name.startsWith(`${table}.`));
    if (!looked) bytes += elementCount(weight.shape) * bytesPerElement[weight.dtype];
  }
  return bytes;
}

/** Bytes of weights that one token reads, of a model as it is stored. */
export function storedBytesPerToken({ model, manifest }: MeasuredStorage): number {
  return weightBytesPerToken(model, storageTypes[manifest?.dtype ?? 'f32'].step, manifest?.block);
}

/** A model with the description of its export, where it is one. */
export type MeasuredStorage = Pick<RunningModel, 'model' | 'manifest'>;

/** Rows and columns of the matrix read to measure the bandwidth: 256 MB, far more than caches hold. */
const readShape: readonly [number, number] = [8192, 8192];

/** Ways of reading every number once. The fastest counts: none is sure to saturate the memory of every machine. */
const readers: Readonly<Record<string, (x: Value, row: Value) => Value>> = {
  sum: (x) => sum(x, [1]),
  largest: (x) => max(x, [1]),
  product: (x, row) => matmul(row, x),
};

/** Bytes per second at which the engine reads memory in order, with its threads. */
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

/** Profile of a step. */
export interface StepProfile {
  /** Kernel time of all ops of one step, in milliseconds. */
  readonly kernelMs: number;
  /** Ops by kind, longest first: executions and milliseconds of one step. */
  readonly ops: readonly { readonly opType: string; readonly count: number; readonly ms: number }[];
}

/** The profile of one step, by an engine that was opened with `profile` and has run `steps` equal steps. */
export async function stepProfile(engine: StepEngine, steps: number): Promise<StepProfile> {
  const measured = await engine.program.profile();
  const ops = measured.map(({ opType, count, ms }) => ({ opType, count: count / steps, ms: ms / steps }));
  return { kernelMs: ops.reduce((total, { ms }) => total + ms, 0), ops };
}
