import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { compareRules, verificationRules } from './verification-rules.ts';

describe('verification rules', () => {
  it('the exact one gives the sequential text, the others do not', async () => {
    const mixer = mixerPreset('augmented', { group: 6, kernel: 9 });
    const model = tinyLlama([mixer, mixer]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
    const prompts = [1, 5, 12, 14].map((length) => [...randomTokens(model, length, length)]);
    const seen: number[] = [];
    const [exact, ...others] = await compareRules(engine, prompts, {
      tokens: 60,
      onProgress: (done, total) => seen.push(total - done),
    });
    expect(exact).toMatchObject({ name: 'exact', tokens: 240, mismatches: 0 });
    expect(exact.maxLogitError).toBeLessThan(2e-5);
    expect(exact.tokensPerStep).toBeGreaterThan(2);
    expect(others.map(({ name }) => name)).toEqual(verificationRules.slice(1).map(({ name }) => name));
    for (const { name, mismatches, mismatchesPer1000, maxLogitError } of others) {
      expect(mismatches, name).toBeGreaterThan(3);
      expect(mismatchesPer1000).toBeCloseTo((1000 * mismatches) / 240, 9);
      expect(maxLogitError, name).toBeGreaterThan(0.01);
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => 19 - i));
  });

  it('none matters where a mixer has neither a global branch nor a convolution', async () => {
    const model = tinyLlama([{ kind: 'softmax' }, mixerPreset('local', { group: 6 })]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
    for (const { mismatches } of await compareRules(engine, [[1, 2, 3]], { tokens: 40 })) expect(mismatches).toBe(0);
  });

  it('refuses to run on nothing, and stops when asked to', async () => {
    const model = tinyLlama([{ kind: 'softmax' }]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
    await expect(compareRules(engine, [])).rejects.toMatchObject({ code: 'INPUT' });
    const signal = AbortSignal.abort();
    await expect(compareRules(engine, [[1]], { tokens: 3, signal })).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
