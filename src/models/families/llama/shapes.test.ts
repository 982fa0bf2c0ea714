import { describe, expect, it } from 'vitest';
import { describeCausalModel } from '../index.ts';
import { publishedShape } from '../../presets/presets.ts';

/** Parameters as counted from the published checkpoints; a tied head counts once. */
const published: Record<string, number> = {
  'qwen2.5-0.5b': 494_032_768,
  'tinyllama-1.1b': 1_100_048_384,
  'llama-3.2-1b': 1_235_814_400,
  'llama-2-7b': 6_738_415_616,
  'llama-2-13b': 13_015_864_320,
  'lfm2-350m': 354_483_968,
  'lfm2-700m': 742_489_344,
  'lfm2-1.2b': 1_170_340_608,
  'gemma3-270m': 268_098_176,
  'gemma3-1b': 999_885_952,
};

function parameterCount(config: Readonly<Record<string, unknown>>): number {
  const { parameters } = describeCausalModel(config);
  return [...parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** In millions, as they are published. */
const publishedMillions: Record<string, number> = {
  'granite4-h-350m': 340,
  'granite4-h-1b': 1462,
  'falcon-h1-90m': 91,
  'falcon-h1-0.5b': 521,
};

describe('publishedShape', () => {
  it.each(Object.entries(published))('%s has as many parameters as the published checkpoint', (name, count) => {
    expect(parameterCount(publishedShape(name))).toBe(count);
  });

  it.each(Object.entries(publishedMillions))('%s has as many millions as are published', (name, millions) => {
    expect(Math.round(parameterCount(publishedShape(name)) / 1e6)).toBe(millions);
  });

  it('refuses other names, listing the known ones', () => {
    expect(() => publishedShape('constructor')).toThrow(/unknown model "constructor".*tinyllama-1\.1b/);
  });
});
