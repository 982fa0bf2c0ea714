/** Sizes of FLASH, as config.json. */
import { defaultKernel } from '../../attention/mixer.ts';

const augmented = { model_type: 'flash', convolution: defaultKernel } as const;

export const flashPresets = {
  /** The paper's: it calls it 110M, the reference code's layers, embedding and head add up to 164.7M. */
  'flash-110m': { ...augmented, vocab_size: 50257, dim: 768, depth: 24 },
  /** Small enough to be trained on a laptop: 2.6M parameters beside the vocabulary's. */
  'flash-small': { ...augmented, vocab_size: 512, dim: 256, depth: 6, group_size: 256, query_key_dim: 128 },
} as const;
