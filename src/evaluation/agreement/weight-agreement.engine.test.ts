/** Agreement and recall by a graph over whole texts, with weights in memory and in files, are those of two engines. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { saveTinyModel } from '../../../test/models/tiny-model.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { loadCausalModel, openCausalWeights, saveModel } from '../../checkpoint/load-model.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { recallProbes } from '../recall/copy-recall.ts';
import { greedyTexts, textAgreement } from './agreement.ts';
import { recalledAnswers } from './recalled-answers.ts';
import { weightAgreement, weightRecall } from './weight-agreement.ts';

const folder = suiteFolder();
const [base, student] = ['base', 'student'].map((name) => join(folder, name));
const tokensOf = (count: number, first: number) => Int32Array.from({ length: count }, (_, i) => (first + 7 * i) % 250);

beforeAll(async () => {
  await saveTinyModel(base, 1, 'llama');
  const { model, parameters } = await loadCausalModel(base);
  const converted = linearize(model, parameters, mixerPreset('hedgehog', { group: 4 }));
  await saveModel(student, converted, { tokenizerFiles: { from: base } });
});

it('compares models as their engines do', async () => {
  const [original, other] = [await loadCausalModel(base), await loadCausalModel(student)];
  await using engine = await DecodingEngine.create(original.model, original.parameters);
  await using second = await DecodingEngine.create(other.model, other.parameters);
  const written = await greedyTexts(engine, [tokensOf(12, 3), tokensOf(9, 40)], 8);
  // The second text is not what the original would write.
  const texts = [written[0], { ...written[1], tokens: written[1].tokens.map((token) => (token + 1) % 250) }];
  const probes = recallProbes(tokensOf(64, 5), { distances: [4, 8], passage: 8, count: 3 });
  const agreements = await textAgreement(engine, second, texts);
  const [own, theirs] = [await recalledAnswers(engine, probes), await recalledAnswers(second, probes)];
  expect(agreements.some(({ same }) => same.includes(true))).toBe(true);
  await using stored = await openCausalWeights(base);
  await using storedOther = await openCausalWeights(student);
  for (const [first, last] of [
    [original, other],
    [stored, storedOther],
  ]) {
    const found = await weightAgreement(first, last, texts);
    for (const [i, { same, kl }] of found.entries()) {
      expect(same).toEqual(agreements[i].same);
      for (const [at, value] of kl.entries()) expect(value).toBeCloseTo(agreements[i].kl[at], 5);
    }
    expect(await weightRecall(first, last, probes)).toEqual({ original: own, other: theirs });
  }
});
