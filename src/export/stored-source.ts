/** Where the graphs of an export get their parameters from: a type and a device, as a parameter source. */
import type { Graph } from '../graph/graph.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import { stepGraph } from '../models/graphs/step-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import { sharedTables, storedParameters, type StoredSourceOptions } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import type { WeightType } from '../quantization/weight-types.ts';
import type { ExportManifest } from './manifest.ts';

/**
 * Makes sources of a model's parameters as an export stores them, for any graph of the model.
 * @param model the generating model: of an encoder-decoder model, the decoder
 * @param stored.dtype of the graph: of a folder with two sets of weights, one of them
 * @param onError as of `StoredSourceOptions`
 */
export function storedSource(
  model: AutoregressiveModel,
  weights: WeightReader,
  stored: { readonly dtype: WeightType } & Pick<ExportManifest, 'block' | 'device'>,
  onError?: StoredSourceOptions['onError'],
): (graph: Graph) => ParameterSource {
  const options: StoredSourceOptions = {
    sharedTables: sharedTables((makeSource) => stepGraph(model, makeSource)),
    halfProducts: stored.device === 'webgpu',
    block: stored.block,
    onError,
  };
  return (graph) => storedParameters(stored.dtype, graph, weights, options);
}
