/** Sizes of FLASH, as config.json. */
import { defaultKernel } from '../../../attention/convolution-config.ts';

/** The paper's: it says 110M; layers, embedding and head of the reference code add up to 164.7M. */
export const flashPaperShape = {
  model_type: 'flash',
  vocab_size: 50257,
  dim: 768,
  depth: 24,
  convolution: defaultKernel,
} as const;

/** Small enough to be trained on a laptop: 2.6M parameters next to the vocabulary's. */
export const flashSmallShape = { ...flashPaperShape, vocab_size: 512, dim: 256, depth: 6 } as const;
