/** Inputs and outputs of a teacher's attention layers on a few texts, to which a student's layers are fitted one by one. */
import { LinnetError, requireRunning, type Stoppable } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, int32, type Tensor } from '../graph/tensor.ts';
import { mixParallel } from '../attention/mixers.ts';
import type { CausalModel } from '../models/model.ts';
import { constantPositions, mixerParameterValues, shiftedByOne } from '../models/graphs/parallel-graph.ts';
import { InputParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { onlyInputs } from '../runtime/program.ts';

/** One text in one layer: q [1,n,H,D], k [1,n,M,D], v [1,n,M,E], and the teacher's mixed values, [1,n,H,E]. */
export interface LayerSample {
  readonly q: Tensor<'float32'>;
  readonly k: Tensor<'float32'>;
  readonly v: Tensor<'float32'>;
  readonly mixed: Tensor<'float32'>;
}

const parts = ['q', 'k', 'v', 'mixed'] as const;

/**
 * Runs a teacher over texts of one length, layer by layer of the result.
 * @param texts token ids, all of n
 * @param options.layers the layers to sample; others have no samples
 * @returns [layer][text]
 * @throws LinnetError `INPUT` without a text or for texts of unequal lengths, `ABORTED` between two texts
 */
export async function layerSamples(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  texts: readonly Int32Array[],
  { signal, layers: sampled, ...options }: CompileOptions & Stoppable & { readonly layers: ReadonlySet<number> },
): Promise<LayerSample[][]> {
  const n = texts[0]?.length ?? 0;
  if (n === 0 || texts.some(({ length }) => length !== n)) {
    throw new LinnetError('INPUT', 'samples of layers need at least one text, all of one length');
  }
  const layers: LayerSample[][] = model.mixers.map(() => []);
  if (sampled.size === 0) return layers;
  await using program = await compile(samplingGraph(model, n, sampled), options);
  const feeds = onlyInputs(program, Object.fromEntries(parameters));
  const names = [...sampled].flatMap((layer) => parts.map((part) => `${part}.${layer}`));
  for (const text of texts) {
    requireRunning(signal, 'while the teacher was read');
    const results = await program.run({ ...feeds, tokens: int32([1, n], text) }, names);
    for (const layer of sampled) {
      const part = (name: (typeof parts)[number]): Tensor<'float32'> => {
        const { shape, dtype } = results[`${name}.${layer}`];
        if (dtype !== 'float32') throw new LinnetError('INTERNAL', `internal: a sample is ${dtype}`);
        return { dtype, shape, data: dataOf(results[`${name}.${layer}`], 'float32') };
      };
      layers[layer].push({ q: part('q'), k: part('k'), v: part('v'), mixed: part('mixed') });
    }
  }
  return layers;
}

function samplingGraph(model: CausalModel, n: number, sampled: ReadonlySet<number>): Graph {
  const graph = new Graph(`samples of ${n}`);
  const source = new InputParameters(graph);
  const tokens = graph.input('tokens', 'int32', [1, n]);
  model.backbone(source, tokens, constantPositions(model, graph, 1, n), {
    shift: (_, features) => shiftedByOne(features),
    mix(layer, projected, scoring) {
      const own = mixerParameterValues(model, source, layer);
      const mixed = mixParallel(model.mixers[layer], projected, own, scoring);
      if (!sampled.has(layer)) return mixed;
      for (const [name, value] of Object.entries({ q: projected.q, k: projected.k, v: projected.v, mixed })) {
        graph.output(`${name}.${layer}`, value);
      }
      return mixed;
    },
  });
  return graph;
}
