/** Gemma 3 against outputs, gradients and caches of executed reference code (test/golden: gemma3_*). */
import { testHybrids } from './golden-hybrid.ts';

testHybrids([
  { name: 'gemma3_pattern6', lengths: [1, 9, 70, 21], decode: { prompt: 12, total: 20, texts: [0, 1] } },
  { name: 'gemma3_linear_scaling', lengths: [1, 66, 19], decode: { prompt: 3, total: 12, texts: [0, 1] } },
  { name: 'gemma3_new_keys', lengths: [2, 17], decode: { prompt: 6, total: 12, texts: [0] } },
]);
