/** Where the graphs of an export get their parameters from: what linnet.json says of types, as a parameter source. */
import type { Graph } from '../graph/graph.ts';
import type { CausalModel } from '../models/model.ts';
import { stepGraph } from '../models/step-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import { sharedTables, storedParameters, type StoredSourceOptions } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import type { ExportManifest } from './manifest.ts';

/**
 * Makes sources of a model's parameters as an export stores them, for any graph of the model.
 * @param onError as of `StoredSourceOptions`
 */
export function storedSource(
  model: CausalModel,
  weights: WeightReader,
  { dtype, block, device }: Pick<ExportManifest, 'dtype' | 'block' | 'device'>,
  onError?: StoredSourceOptions['onError'],
): (graph: Graph) => ParameterSource {
  const options: StoredSourceOptions = {
    sharedTables: sharedTables((makeSource) => stepGraph(model, makeSource)),
    halfProducts: device === 'webgpu',
    block,
    onError,
  };
  return (graph) => storedParameters(dtype, graph, weights, options);
}
