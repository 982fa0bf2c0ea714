/**
 * Chooses the layers that keep softmax: measures the loss, in text and recall, of converting each layer alone. The layers
 * that lose most stay unchanged.
 */
import type { MixerConfig } from '../attention/mixer.ts';
import { copyRecall, type RecallProbe, recallProbes } from '../evaluation/recall/copy-recall.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../evaluation/perplexity/scored-windows.ts';
import { average } from '../report/statistics.ts';
import { exchangeableLayers } from '../models/linearization/linearize.ts';
import type { CausalModel } from '../models/model.ts';
import { calibrate, type CalibrationOptions } from './calibrate.ts';
import { requireConverted } from './plan.ts';
import type { ConversionProgress } from './progress-file.ts';
import { converted, type Weighted, windowLength } from './stages.ts';

/** Passages repeated after a quarter and after half of a window, for the layers' recall. */
export function sensitivityProbes(
  model: CausalModel,
  tokens: Int32Array,
  first: readonly number[] = [],
): RecallProbe[] {
  const distances = [4, 2].map((share) => Math.floor(windowLength(model) / share));
  return recallProbes(tokens, { distances: distances.filter((distance) => tokens.length > distance + 64) }, first);
}

/** The cost of converting one layer. */
export type LayerSensitivity = ConversionProgress['sensitivity'][number];

/** Texts for calibration, all of one length, and texts for measuring the loss. */
interface SensitivityTexts {
  readonly texts: readonly Int32Array[];
  readonly data: EvaluationData;
  readonly probes: readonly RecallProbe[];
}

/**
 * Converts each layer that can have another mixer by itself, with a calibrated start, and measures.
 * @throws LinnetError like `calibrate` and `perplexity`
 * @example const losses = await layerSensitivity(original, mixer, { texts: [Int32Array.of(1, 2, 3)], data: { windows: [{
 *   tokens: Int32Array.of(1, 2, 3), scoredFrom: 1 }], documents: 1 }, probes: [], }); console.log(layersToKeep(losses, 1));
 */
export async function layerSensitivity(
  original: Weighted,
  mixer: MixerConfig,
  { texts, data, probes }: SensitivityTexts,
  { onLayer, ...options }: CalibrationOptions = {},
): Promise<LayerSensitivity[]> {
  const measure = async ({ model, parameters }: Weighted) => ({
    text: (await perplexity(model, parameters, data, options)).nll,
    recall:
      probes.length === 0 ? 0 : average((await copyRecall(model, parameters, probes, options)).map(({ nll }) => nll)),
  });
  const base = await measure(original);
  const found: LayerSensitivity[] = [];
  const layers = exchangeableLayers(original.model);
  for (const layer of layers) {
    const started = converted(original, mixer, [layer]);
    const { parameters } = await calibrate(original, started, texts, options);
    const { text, recall } = await measure({ model: started.model, parameters });
    found.push({ layer, perplexity: Math.exp(text), textLoss: text - base.text, recallLoss: recall - base.recall });
    onLayer?.(found.length, layers.length);
  }
  return found;
}

/**
 * The layers to keep: those with the largest sum of text and recall loss.
 * @returns in ascending order
 * @throws LinnetError `INPUT` if all layers or more are kept
 * @example const kept = layersToKeep([{ layer: 0, perplexity: 5, textLoss: 0.1, recallLoss: 0 }], 0);
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
