/** Memory besides the steps of a conversion. */
import { expect, it } from 'vitest';
import { describeCausalModel } from '../models/families/index.ts';
import { publishedShape } from '../models/presets/presets.ts';
import { memoryAfterJudge } from './step-form.ts';

it('a 7B that has written for its judge leaves no matrix of its feed-forward layers in memory', () => {
  const model = describeCausalModel(publishedShape('llama-2-7b'));
  const bytes = 0.75 * 32 * 4 * 4096 ** 2; // queries, keys, values and outputs in blocks of 32
  const left = memoryAfterJudge({ model }, { judge: 'both' });
  expect(left).toBeGreaterThan(bytes);
  expect(left).toBeLessThan(1.01 * bytes);
  expect(memoryAfterJudge({ model }, { judge: 'perplexity' })).toBe(0);
});
