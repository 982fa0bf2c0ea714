/** Inputs and outputs of a teacher's attention layers on a few texts, to fit a student's layers one by one. */
import { type AnyParameter, layeredWeights, segmentWeights } from '../checkpoint/stored-parameter.ts';
import { LinnetError, requireRunning, type Stoppable } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { constantPositions, parallelMix, parallelMixing } from '../models/graphs/parallel-graph.ts';
import { InputParameters } from '../nn/parameters.ts';
import type { CompileOptions, NamedTensors } from '../runtime/compile.ts';
import { runSegments, SegmentedProgram } from '../runtime/segmented-program.ts';
import { compileWeighted, runOnce } from '../runtime/weighted-program.ts';

/** One text in one layer: q [1,n,H,D], k [1,n,M,D], v [1,n,M,E], and the teacher's mixed values, [1,n,H,E]. */
export type LayerSample = ReturnType<typeof sampleOf>;

/** How to sample a teacher. */
interface SamplingOptions extends CompileOptions, Stoppable {
  /** The layers to sample. */
  readonly layers: ReadonlySet<number>;
}

/**
 * Runs a teacher over texts of one length, and passes each layer's samples, [text], to `visit` in order. With parameters in
 * files, only one layer's parameters and samples are in memory at a time.
 * @param texts token ids, each of length n
 * @throws LinnetError `INPUT` without a text or for texts of unequal lengths, `ABORTED` between two texts
 */
export async function sampleLayers(
  model: CausalModel,
  parameters: ReadonlyMap<string, AnyParameter>,
  texts: readonly Int32Array[],
  { signal, layers, ...options }: SamplingOptions,
  visit: (layer: number, samples: readonly LayerSample[]) => Promise<void>,
): Promise<void> {
  const n = texts[0]?.length ?? 0;
  if (n === 0 || texts.some(({ length }) => length !== n)) {
    throw new LinnetError('INPUT', 'samples of layers need at least one text, all of one length');
  }
  if (layers.size === 0) return;
  const graph = samplingGraph(model, n, layers);
  const feeds = texts.map((text) => ({ tokens: int32([1, n], text) }));
  const weights = segmentWeights(parameters);
  // Filled layer by layer: a list of pairs would stay in the frame of a waiting function, samples included.
  const samples = new Map<number, LayerSample[]>();
  const take = async (text: number, outputs: NamedTensors): Promise<void> => {
    for (const layer of layers) {
      if (!Object.hasOwn(outputs, `mixed.${layer}`)) continue;
      const ofLayer = [...(samples.get(layer) ?? []), sampleOf(outputs, layer)];
      samples.set(layer, ofLayer);
      if (text + 1 < texts.length) continue;
      samples.delete(layer);
      await visit(layer, ofLayer);
    }
  };
  await using program = await compileWeighted(graph, layeredWeights(parameters), options);
  if (program instanceof SegmentedProgram) {
    const runs = feeds.map((given) => ({ program, feeds: given }));
    await runSegments(runs, weights, { signal, take });
    return;
  }
  for (const [text, given] of feeds.entries()) {
    requireRunning(signal, 'while the teacher was read');
    await take(text, await runOnce(program, given, weights));
  }
}

function sampleOf(outputs: NamedTensors, layer: number) {
  const part = (name: string): Tensor<'float32'> => {
    const { shape, ...value } = outputs[`${name}.${layer}`];
    return float32(shape, dataOf({ shape, ...value }, 'float32'));
  };
  return { q: part('q'), k: part('k'), v: part('v'), mixed: part('mixed') };
}

/** `tokens` int32 [1,n] and the parameters → `q.i`, `k.i`, `v.i` and `mixed.i` of the sampled layers. */
export function samplingGraph(model: CausalModel, n: number, sampled: ReadonlySet<number>): Graph {
  const graph = new Graph(`samples of ${n}`);
  const source = new InputParameters(graph);
  const tokens = graph.input('tokens', 'int32', [1, n]);
  const mix = parallelMix(model, source);
  const mixing = parallelMixing((layer, projected, scoring) => {
    const mixed = mix(layer, projected, scoring);
    if (!sampled.has(layer)) return mixed;
    for (const [name, value] of Object.entries({ q: projected.q, k: projected.k, v: projected.v, mixed })) {
      graph.output(`${name}.${layer}`, value);
    }
    return mixed;
  });
  model.backbone(source, tokens, constantPositions(model, graph, 1, n), mixing);
  return graph;
}
