/**
 * Graphs whose weights are inputs, run over many feeds: whole if all weights are in memory, in segments if some are read
 * when a segment needs them.
 */
import { LinnetError, requireRunning } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { compile, type CompileOptions, type NamedTensors } from './compile.ts';
import { onlyInputs, type Program } from './program.ts';
import { runSegments, SegmentedProgram, segmentsCost, type SegmentWeights } from './segmented-program.ts';

/** A graph compiled in either way. Dispose of it when done. */
export type WeightedProgram = Program | SegmentedProgram;

/** @param weights for a graph that runs in segments. Default: runs it whole */
export async function compileWeighted(
  graph: Graph,
  weights: SegmentWeights | undefined,
  options: CompileOptions = {},
): Promise<WeightedProgram> {
  if (weights === undefined) return await compile(graph, options);
  return await SegmentedProgram.create(graph, weights, (part) => compile(part, { ...options, lean: true }));
}

/** A run over feeds, which are made when needed. */
export interface WeightedRun {
  readonly program: WeightedProgram;
  readonly feeds: () => NamedTensors;
}

/** Most bytes of cuts that runs hold side by side. */
const mostCutBytes = 2 ** 29;

/** Bytes for runs of a graph in segments, with as many side by side as are held together. */
export function segmentedBytes(graph: Graph, weights: SegmentWeights, runs: number): number {
  const { segmentBytes, cutBytes } = segmentsCost(graph, weights);
  return segmentBytes + Math.min(Math.ceil(runs) * cutBytes, mostCutBytes + cutBytes);
}

/**
 * The runs' outputs in order; one reading of the weights serves as many segmented runs as fit side by side.
 * @throws LinnetError `TENSOR` for a missing weight, `ABORTED` between two runs
 */
export async function* runWeighted(
  runs: readonly WeightedRun[],
  weights: SegmentWeights,
  signal?: AbortSignal,
): AsyncGenerator<NamedTensors, void, undefined> {
  let together: { readonly program: SegmentedProgram; readonly feeds: NamedTensors }[] = [];
  let bytes = 0;
  for (const [done, { program, feeds }] of runs.entries()) {
    requireRunning(signal, `after ${done} of ${runs.length} batches`);
    if (program instanceof SegmentedProgram) {
      together.push({ program, feeds: feeds() });
      bytes += program.cutBytes;
      if (bytes < mostCutBytes && done + 1 < runs.length) continue;
      yield* await runSegments(together, weights, { signal });
      [together, bytes] = [[], 0];
      continue;
    }
    yield await runOnce(program, feeds(), weights);
  }
}

/** One run's outputs. @throws LinnetError `TENSOR` for a missing weight */
export async function runOnce(
  program: WeightedProgram,
  feeds: NamedTensors,
  weights: SegmentWeights,
): Promise<NamedTensors> {
  if (program instanceof SegmentedProgram) return (await runSegments([{ program, feeds }], weights))[0];
  const resident = [...weights].flatMap(([name, value]) => ('data' in value ? [[name, value] as const] : []));
  const given = onlyInputs(program, { ...Object.fromEntries(resident), ...feeds });
  const missing = [...program.inputs.keys()].find((name) => !Object.hasOwn(given, name));
  if (missing !== undefined) throw new LinnetError('TENSOR', `parameter "${missing}" is missing`);
  return await program.run(given, [...program.outputs.keys()]);
}
