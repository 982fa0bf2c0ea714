import { describe, expect, it } from 'vitest';
import { elementCount } from '../../graph/tensor.ts';
import { describeCausalModel } from '../families/index.ts';
import { modelPreset, modelPresetNames } from './presets.ts';

describe('modelPreset', () => {
  it.each(modelPresetNames)('%s is a causal model', (name) => {
    expect(describeCausalModel(modelPreset(name)).kind).toBe('causal');
  });

  it.each([
    ['flash-small', 2.6],
    ['llama-small', 3.0],
    ['flash-110m', 87.4],
  ])('%s has %f million parameters next to those of the vocabulary', (name, millions) => {
    const model = describeCausalModel(modelPreset(name));
    let total = 0;
    for (const [parameter, { shape }] of model.parameters) {
      if (!/token_emb|to_logits\.1|embed_tokens|lm_head/.test(parameter)) total += elementCount(shape);
    }
    expect(total / 1e6).toBeCloseTo(millions, 1);
  });

  it('refuses other names, and lists those it has', () => {
    expect(() => modelPreset('flash-9b')).toThrow(/unknown model "flash-9b".*flash-110m/);
  });
});
