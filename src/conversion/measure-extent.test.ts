import { expect, it } from 'vitest';
import { mixerPreset } from '../attention/presets.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { publishedShape } from '../models/presets/presets.ts';
import { judgedTokens, measureExtent, measureSeconds } from './measure-extent.ts';

const original = describeCausalModel(publishedShape('qwen2.5-0.5b'));
const converted = original.withMixers(original.mixers.map(() => mixerPreset('window', { group: 64 })));
const window = { tokens: new Int32Array(1024), scoredFrom: 1 };
const texts = {
  test: { windows: Array.from({ length: 6 }, () => window), documents: 6 },
  testTokens: new Int32Array(60_000),
};
const extent = (seconds?: number) =>
  measureExtent({ original, converted, texts, contexts: [1024, 8192, 65536], seconds, rate: 2e11 });

it('is all text without a limit, but for contexts whose state is large', () => {
  expect(extent()).toMatchObject({
    testWindows: 6,
    testTokens: 6144,
    positionWindows: 14,
    positionLength: 4096,
    probes: 16,
    prompts: 200,
    steps: 64,
    contexts: [1024, 8192],
    isCut: false,
  });
});

it('reads no text beyond the learned positions of the original', () => {
  const gpt2 = describeCausalModel(publishedShape('gpt2'));
  const models = { original: gpt2, converted: gpt2.withMixers(gpt2.mixers.map(() => mixerPreset('window'))) };
  const chosen = measureExtent({ ...models, texts, contexts: [64, 1024, 8192], rate: 2e11 });
  expect(chosen).toMatchObject({ positionLength: 1024, positionWindows: 58, distances: [16, 32, 64, 128, 256, 512] });
  expect(chosen.contexts).toEqual([64, 1024 - 4 * (2 + 16)]);
});

it.each([
  [300, 3],
  [720, 6],
])('fits %d seconds, test text first', (seconds, windows) => {
  const { seconds: chosen, isCut, testWindows } = extent(seconds);
  expect(isCut).toBe(true);
  expect(chosen).toBeLessThan(1.15 * seconds);
  expect(chosen).toBeGreaterThan(0.6 * seconds);
  expect(testWindows).toBe(windows);
});

it('has a least amount, whatever the time', () => {
  expect(extent(0)).toMatchObject({ testWindows: 1, positionWindows: 1, positionLength: 1024, probes: 2, prompts: 8 });
  expect([measureSeconds(0), measureSeconds(3600)]).toEqual([60, 720]);
});

it('judges stages of half a billion parameters and an hour by 17 windows, of seven billions by one', () => {
  const seven = describeCausalModel(publishedShape('llama-2-7b'));
  const windows = [original, seven].map((model) => Math.floor(judgedTokens(model, 3600) / 1024));
  expect(windows).toEqual([17, 1]);
});
