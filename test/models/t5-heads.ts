/** A small T5 that pairs of texts train, and what a run of training its heads is given. */
import { song } from '../cli/text-data.ts';
import { tinyConfig } from './tiny-model.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { TextPairDataset } from '../../src/data/datasets/sequence-pairs.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { exchangeByName, exchangedParameters } from '../../src/models/linearization/linearize.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { Random } from '../../src/random.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import type { PairHeadsJob } from '../training/trained-heads.ts';
import type { MedusaTraining } from '../../src/training/objectives/draft-heads.ts';
import { type TrainingInput, parseTrainingSettings } from '../../src/training/settings.ts';

export type Parameters = Map<string, Tensor<'float32'>>;

export const medusa: MedusaTraining = { heads: 3, layers: 1, decay: 0.8 };

/** A T5 with mixers of constant state in encoder and decoder. */
export function augmentedT5(config: Readonly<Record<string, unknown>> = {}): {
  model: EncoderDecoderModel;
  parameters: Parameters;
} {
  const plain = t5Model({ ...tinyConfig('t5'), ...config });
  const parameters = initializeParameters(plain, new Random(3), 0.3);
  const model = exchangeByName(plain, mixerPreset('augmented', { group: 8, kernel: 5 }), {});
  if (model.kind !== 'encoder-decoder') throw new Error(model.kind);
  return { model, parameters: exchangedParameters(plain, model, parameters) };
}

/** The words of a song in capitals, and as they are. */
export function songPairs({ startId }: EncoderDecoderModel): TextPairDataset {
  const words = song.split(' ');
  const texts = words.slice(0, -5).map((_, i) => {
    const target = words.slice(i, i + 6).join(' ');
    return { source: target.toUpperCase(), target };
  });
  return new TextPairDataset(texts, byteTokenizer(), { length: 40, startId });
}

/** A run over them. */
export function pairHeadsJob(input: TrainingInput = {}, extra: Partial<PairHeadsJob> = {}): PairHeadsJob {
  const { model, parameters } = augmentedT5();
  const settings = parseTrainingSettings({ batch: 3, length: 40, steps: 6, learningRate: 1e-2, ...input });
  return { model, parameters, origin: 'a'.repeat(64), dataset: songPairs(model), settings, medusa, ...extra };
}
