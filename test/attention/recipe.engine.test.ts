/** CONTRIBUTING's recipe for a mixer is short and true: a kind that follows it works in checks, decoding and training. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { registerMixer } from '../../src/attention/kinds/index.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { checkModel } from '../../src/evaluation/check/check.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { matrixStudy } from '../../src/studies/matrix/study.ts';
import { causalObjective } from '../../src/training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';
import { train } from '../../src/training/trainer.ts';
import { songRows } from '../cli/text-data.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { groupMeanKind } from './group-mean.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

it('is at most five lines, and names files that exist', () => {
  const recipes = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8').split('\n\n');
  const recipe = recipes.find((paragraph) => paragraph.startsWith('**A mixer.**')) ?? '';
  expect(recipe).not.toBe('');
  expect(recipe.trim().split('\n').length).toBeLessThanOrEqual(5);
  const files = [...recipe.matchAll(/`((?:src|test|docs)\/[^`]+)`/g)].map(([, file]) => file);
  const named = files.filter((file) => !file.includes('NAME'));
  expect(named.length).toBeGreaterThan(0);
  for (const file of named) expect(existsSync(join(root, file)), file).toBe(true);
});

it('a kind that follows it passes the check, decodes, trains, and is in the support matrix', async () => {
  using _ = registerMixer(groupMeanKind);
  const plain = describeCausalModel(tinyConfig('llama'));
  const model = plain.withMixers(plain.mixers.map(() => mixerPreset('group-mean', { group: 5 })));
  expect(describeCausalModel(model.toJson()).mixers).toEqual(model.mixers);
  const parameters = initializeParameters(model, new Random(3));

  const report = await checkModel(model, parameters);
  expect(report).toMatchObject({ ok: true, leak: false });
  expect(report.rows.filter(({ test }) => test.includes('tree')).length).toBeGreaterThan(0);

  await using engine = await DecodingEngine.create(model, parameters);
  const generation = await generateToEnd(engine, { promptTokens: [3, 4, 5], maxTokens: 12 });
  expect(generation.tokens).toHaveLength(12);

  const settings = parseTrainingSettings({ batch: 4, length: 20, steps: 30, learningRate: 1e-2, warmup: 2 });
  const losses: number[] = [];
  const objective = causalObjective(model, 20);
  const onUpdate = ({ loss }: { readonly loss: number }): void => void losses.push(loss);
  const trained = await train({ model, objective, parameters, dataset: await songRows(), settings, onUpdate });
  expect(trained.loss).toBeLessThan(0.8 * losses[0]);
  const gain = 'model.layers.0.self_attn.gain';
  expect(trained.parameters.get(gain)?.data).not.toEqual(parameters.get(gain)?.data);

  await using matrix = await matrixStudy.open({ families: ['llama'], mixers: ['group-mean'] });
  const rows = await matrix.runTrials();
  expect(rows[0]).toMatchObject({ forward: true, backward: true, decode: true });
});
