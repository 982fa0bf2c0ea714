/** Accuracy of a classifier whose weights stay in its folder: that of the whole graph. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { saveTinyModel } from '../../../test/models/tiny-model.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { openClassifierWeights, startClassifier } from '../../checkpoint/load-classifier.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import { LabelledDataset } from '../../data/datasets/labelled.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { regression } from './accuracy.ts';

const folder = suiteFolder();

describe('accuracy layer by layer', () => {
  it.each(['llama', 'granitemoehybrid', 'bert'])('is that of the whole graph: %s', async (family) => {
    const [base, dir] = [join(folder, family), join(folder, `${family}-head`)];
    await saveTinyModel(base, 1, family);
    await saveModel(dir, await startClassifier(base, ['score'], 3), { tokenizerFiles: { from: base }, dtype: 'F16' });
    await using weights = await openClassifierWeights(dir);
    const texts = Array.from({ length: 150 }, (_, i) => {
      return { text: `text ${i} of ${'so '.repeat(i % 7)}many`, label: String(i / 10), source: `row ${i}` };
    });
    const options = { layout: weights.model.model.kind, labels: undefined, length: 48 };
    const dataset = new LabelledDataset(texts, await loadTokenizer(base), options);
    const { model, parameters } = await startClassifier(dir, ['score'], 3);
    const whole = await regression(model, parameters, dataset);
    const layers = await regression(weights.model, weights.parameters, dataset);
    expect(whole.texts).toBe(150);
    expect(layers.texts).toBe(150);
    expect(Math.abs(layers.pearson - whole.pearson)).toBeLessThanOrEqual(1e-6);
    expect(Math.abs(layers.meanSquaredError / whole.meanSquaredError - 1)).toBeLessThanOrEqual(1e-6);
  });
});
