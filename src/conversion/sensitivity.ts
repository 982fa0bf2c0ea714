/**
 * Which layers keep softmax: how much is lost when one layer alone is converted, in text and in recall. The layers that lose
 * most stay as they are.
 */
import type { MixerConfig } from '../attention/mixer.ts';
import { copyRecall, type RecallProbe, recallProbes } from '../evaluation/recall/copy-recall.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../evaluation/perplexity/scored-windows.ts';
import { average } from '../evaluation/tasks/metrics/statistics.ts';
import type { Tensor } from '../graph/tensor.ts';
import { exchangeableLayers, linearize } from '../models/linearization/linearize.ts';
import type { CausalModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { calibrate } from './calibrate.ts';
import { requireConverted } from './plan.ts';
import { windowLength } from './stages.ts';

/** Passages that come again after a quarter and after half of a window, for the recall of layers. */
export function sensitivityProbes(
  model: CausalModel,
  tokens: Int32Array,
  first: readonly number[] = [],
): RecallProbe[] {
  const distances = [4, 2].map((share) => Math.floor(windowLength(model) / share));
  return recallProbes(tokens, { distances: distances.filter((distance) => tokens.length > distance + 64) }, first);
}

/** Cost of converting one layer. */
export interface LayerSensitivity {
  readonly layer: number;
  /** Perplexity with this layer alone converted. */
  readonly perplexity: number;
  /** Nats per token more than the original, on text and on copies from far back. */
  readonly textLoss: number;
  readonly recallLoss: number;
}

interface Original {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
}

/**
 * Converts every layer that can have another mixer alone, with a calibrated start, and measures.
 * @param texts for calibration, all of one length
 * @throws LinnetError as `calibrate` and `perplexity`
 * @example
 * const losses = await layerSensitivity(original, mixer, {
 *   texts: [Int32Array.of(1, 2, 3)], data: { windows: [{ tokens: Int32Array.of(1, 2, 3), scoredFrom: 1 }], documents: 1 }, probes: [],
 * });
 * console.log(layersToKeep(losses, 1));
 */
export async function layerSensitivity(
  original: Original,
  mixer: MixerConfig,
  {
    texts,
    data,
    probes,
  }: {
    readonly texts: readonly Int32Array[];
    readonly data: EvaluationData;
    readonly probes: readonly RecallProbe[];
  },
  {
    onLayer,
    ...options
  }: CompileOptions & { readonly signal?: AbortSignal; readonly onLayer?: (done: number, total: number) => void } = {},
): Promise<LayerSensitivity[]> {
  const measure = async ({ model, parameters }: Original) => ({
    text: (await perplexity(model, parameters, data, options)).nll,
    recall:
      probes.length === 0 ? 0 : average((await copyRecall(model, parameters, probes, options)).map(({ nll }) => nll)),
  });
  const base = await measure(original);
  const found: LayerSensitivity[] = [];
  const layers = exchangeableLayers(original.model);
  for (const layer of layers) {
    const started = linearize(original.model, original.parameters, mixer, [layer]);
    const { parameters } = await calibrate(original, started, texts, options);
    const { text, recall } = await measure({ model: started.model, parameters });
    found.push({ layer, perplexity: Math.exp(text), textLoss: text - base.text, recallLoss: recall - base.recall });
    onLayer?.(found.length, layers.length);
  }
  return found;
}

/**
 * The layers to keep: the ones with the largest loss, text and recall added up.
 * @returns in ascending order
 * @throws LinnetError `INPUT` for keeping all layers or more
 * @example
 * const kept = layersToKeep([{ layer: 0, perplexity: 5, textLoss: 0.1, recallLoss: 0 }], 0);
 */
export function layersToKeep(sensitivities: readonly LayerSensitivity[], count: number): number[] {
  requireConverted(count, sensitivities.length);
  const cost = ({ textLoss, recallLoss }: LayerSensitivity): number => textLoss + recallLoss;
  return [...sensitivities]
    .sort((a, b) => cost(b) - cost(a))
    .slice(0, count)
    .map(({ layer }) => layer)
    .sort((a, b) => a - b);
}
