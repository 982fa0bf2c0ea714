/** `finetune` with low-rank updates of a model that does not fit whole: layer by layer, with the result of the whole. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { finetune, planFinetune } from '../../src/training/plans/finetune.ts';
import { writeBook } from '../cli/text-data.ts';
import { largestChange } from '../models/parameter-change.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
/** Weights of 14 MB in 8 layers. */
const model = describeCausalModel({
  ...{ ...tinyConfig('llama'), hidden_size: 192, intermediate_size: 512, num_hidden_layers: 8 },
  ...{ num_attention_heads: 4, num_key_value_heads: 4 },
});

const options = (out: string, memory: string) => ({
  ...{
    data: [at('book.txt')],
    out: at(out),
    length: 16,
    batch: 2,
    microBatch: 1,
    steps: 3,
    learningRate: 1e-2,
    memory,
  },
  ...{ lora: { rank: 2, alpha: 4, targets: ['q', 'v'] }, loraTrain: ['norms'] as const, heldOut: 0, threads: 1 },
});

beforeAll(async () => {
  const tokenizerFiles = tokenizerFileContents(byteTokenizerFiles());
  const parameters = initializeParameters(model, new Random(1), 0.1);
  await saveModel(at('model'), { model, parameters }, { tokenizerFiles, dtype: 'F16' });
  await writeBook(at('book.txt'), 60);
});

describe('finetune', () => {
  it('runs layer by layer where the whole does not fit, with equal results', async () => {
    const [{ memoryBytes: whole, form }] = (await planFinetune(at('model'), options('planned', '8GiB'))).stages;
    expect(form).toBe('whole');
    const tight = `${Math.ceil(whole / 2 ** 20) - 4}MiB`;
    const [planned] = (await planFinetune(at('model'), options('planned', tight))).stages;
    expect(planned).toMatchObject({ form: 'layers' });
    expect(planned.memoryBytes).toBeLessThan(whole);
    await finetune(at('model'), options('whole', '8GiB'));
    const { steps } = await finetune(at('model'), options('layers', tight));
    expect(steps).toBe(3);
    const [before, one, other] = await Promise.all(
      ['model', 'whole', 'layers'].map((name) => loadCausalModel(at(name))),
    );
    expect(largestChange(before.parameters, one.parameters)).toBeGreaterThan(1e-3);
    expect(largestChange(one.parameters, other.parameters)).toBeLessThan(1e-5);
  });

  it('is refused where neither fits', async () => {
    await expect(finetune(at('model'), options('never', '100MiB'))).rejects.toMatchObject({ code: 'CONFIG' });
  });
});
