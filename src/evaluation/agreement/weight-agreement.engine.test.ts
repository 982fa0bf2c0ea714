/** Agreement and recall by a graph over whole texts, with weights in memory and in files, are those of two engines. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { saveTinyModel } from '../../../test/models/tiny-model.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { loadCausalModel, openCausalWeights, saveModel } from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { recallProbes } from '../recall/copy-recall.ts';
import { greedyTexts, textAgreement } from './agreement.ts';
import { recalledAnswers } from './recalled-answers.ts';
import { agreementMemory, weightAgreement, weightRecall } from './weight-agreement.ts';

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

it('compares models of other widths, and refuses other vocabularies before they are read', async () => {
  const sizes = { vocab_size: 259, hidden_size: 24, intermediate_size: 32, num_hidden_layers: 1 };
  const weighted = (changed: object) => {
    const config = { model_type: 'llama', ...sizes, num_attention_heads: 2, max_position_embeddings: 64, ...changed };
    const model = describeCausalModel(config);
    return { model, parameters: initializeParameters(model, new Random(2), 0.3) };
  };
  const [original, wide, others] = [weighted({}), weighted({ hidden_size: 40 }), weighted({ vocab_size: 300 })];
  const [first, second] = [
    await DecodingEngine.create(original.model, original.parameters),
    await DecodingEngine.create(wide.model, wide.parameters),
  ];
  const texts = await greedyTexts(first, [tokensOf(12, 3)], 8);
  const [expected] = await textAgreement(first, second, texts);
  await Promise.all([first.dispose(), second.dispose()]);
  const [found] = await weightAgreement(original, wide, texts);
  expect(found.same).toEqual(expected.same);
  for (const [at, value] of found.kl.entries()) expect(value).toBeCloseTo(expected.kl[at], 5);
  const weights = segmentWeights(others.parameters);
  const refused = () => agreementMemory(original.model, others.model, { count: 1, length: 20 }, weights);
  expect(refused).toThrow(/259 tokens in its vocabulary, the other model 300/);
});
