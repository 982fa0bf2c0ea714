import { describe, expect, it } from 'vitest';
import { parseLoraChoice } from './lora.ts';
import { parseTrainingSettings } from './settings.ts';
import { recipe, recipeNames, withRecipe } from './recipes.ts';

describe('recipes', () => {
  it.each(recipeNames)('%s is made of valid settings, with the betas of the paper', (name) => {
    expect(parseTrainingSettings(withRecipe(name, {}))).toMatchObject({ beta1: 0.9, beta2: 0.95 });
    const { lora } = recipe(name);
    if (lora !== undefined) expect(parseLoraChoice(lora.choice)).toMatchObject({ rank: 8, alpha: 16 });
  });

  it('give way to what is said, and to another measure of length', () => {
    const settings = withRecipe('llama-lora', { learningRate: 1e-4, epochs: 2, batch: undefined });
    expect(settings).toMatchObject({ learningRate: 1e-4, epochs: 2, batch: 64, schedule: 'constant', warmup: 20 });
    expect(settings.steps).toBeUndefined();
    expect(withRecipe('gpt2-glue', { steps: 7 })).toMatchObject({ steps: 7, length: 256 });
    expect(withRecipe('gpt2-glue', { steps: 7 }).epochs).toBeUndefined();
    expect(withRecipe(undefined, { steps: 7 })).toEqual({ steps: 7 });
    expect(withRecipe('flash-wiki40b', { clip: 0 }).clip).toBe(0);
  });
});
