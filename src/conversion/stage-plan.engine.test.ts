/** A model that does not fit whole has a plan whose stages all hold, layer by layer; weights are not read for it. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { song } from '../../test/cli/text-data.ts';
import type { StoredParameter } from '../checkpoint/stored-parameter.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { planConversion } from './stage-plan.ts';
import { plannedStudent, stageWork } from './stage-training.ts';
import { trainingStages, type Weighted } from './stages.ts';
import { type ConversionTexts, conversionTexts } from './texts.ts';

/** LLaMA-2-7B with a quarter of its layers, in float16: 7.6 GiB in float32, of which 2 GiB are attention. */
const model = describeCausalModel({
  model_type: 'llama',
  vocab_size: 32000,
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 8,
  num_attention_heads: 32,
  max_position_embeddings: 4096,
});
const unreadable = (): never => {
  throw new Error('a plan reads no weights');
};
const half = (shape: readonly number[]): StoredParameter => ({
  dtype: 'float32',
  shape,
  isHalf: true,
  load: unreadable,
  pieces: unreadable,
  rows: unreadable,
});
const original: Weighted = {
  model,
  parameters: new Map([...model.parameters].map(([name, { shape }]) => [name, half(shape)])),
};
const options = { budget: 0, steps: { transfer: 2, logits: 2, long: 2 }, keep: { layers: [] }, batch: 1, length: 256 };
let tokenizer: Tokenizer;
let texts: ConversionTexts;

beforeAll(async () => {
  tokenizer = await loadTokenizer(join('assets', 'tiny-llama'));
  const documents = Array.from({ length: 12 }, (_, i) => ({ text: `${song} ${i} ${song}`, source: `${i}` }));
  texts = await conversionTexts(documents, tokenizer, { heldOut: 1, length: 128 });
});

it('has as many documents of validation and test text as their tokens allow', async () => {
  const documents = Array.from({ length: 100 }, (_, i) => ({ text: `${song} ${i}`, source: `${i}` }));
  const counts = [undefined, 300, 1].map(async (mostTokens) => {
    const { test, validation, training } = await conversionTexts(documents, tokenizer, { length: 128, mostTokens });
    return [test.documents, validation.documents, training.length];
  });
  expect(await Promise.all(counts)).toEqual([
    [5, 5, 90],
    [2, 2, 96],
    [1, 1, 98],
  ]);
});

describe('the plan of a conversion', () => {
  it('has every stage layer by layer where the weights do not fit', async () => {
    const limit = 4 * 2 ** 30;
    const { stages } = await planConversion(original, { tokenizer, texts }, { ...options, memoryBytes: limit });
    expect(stages.map(({ name }) => name)).toEqual([
      'linearize',
      'calibrate',
      'transfer',
      'logits',
      'long',
      'branches',
      'report',
    ]);
    for (const { name, form, memoryBytes } of stages) {
      expect(form, name).toBe('layers');
      expect(memoryBytes, name).toBeLessThanOrEqual(limit);
    }
  });

  it('counts what stays with the process where the original has written', async () => {
    const memory = { ...options, steps: { transfer: 1, logits: 0, long: 0 }, memoryBytes: 2 ** 33 };
    const [written, read] = await Promise.all(
      (['both', 'perplexity'] as const).map((judge) =>
        planConversion(original, { tokenizer, texts }, { ...memory, judge }),
      ),
    );
    // Matrices of attention, 8 × 4 × 4096²; those of the rest are so large that the system takes them back.
    const left = 0.75 * 8 * 4 * 4096 ** 2;
    for (const [index, { name, memoryBytes }] of written.stages.entries()) {
      expect(memoryBytes, name).toBeGreaterThanOrEqual(read.stages[index].memoryBytes + 0.99 * left);
    }
  });

  it('has micro-batches of transfer that fit', () => {
    const stage = trainingStages[0];
    const student = plannedStudent(original, options);
    const inMemory = (memoryBytes: number) =>
      stageWork.layers.cost(stage, original, student, { rows: 64, judge: 'perplexity', memoryBytes });
    const usual = inMemory(2 ** 35);
    expect(usual?.microBatch).toBe(8);
    const most = usual?.memoryBytes ?? 0;
    const smaller = inMemory(most - 1);
    expect(smaller?.microBatch).toBe(4);
    expect(smaller?.memoryBytes).toBeLessThan(most);
  });

  it('is refused where no form of a stage fits', async () => {
    const planned = planConversion(original, { tokenizer, texts }, { ...options, memoryBytes: 2 ** 30 });
    await expect(planned).rejects.toMatchObject({ code: 'CONFIG' });
  });
});
