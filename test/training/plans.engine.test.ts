/**
 * What the training commands do, from TypeScript and through the public entries alone: BERT learns labels, T5 pairs, LLaMA
 * low-rank updates; a converted model is distilled, draft heads are trained; and a run that was stopped ends with the same
 * bytes as one that was not.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/index.ts';
import { loadMedusaHeads } from '../../src/checkpoint/index.ts';
import { byteTokenizerFiles, tokenizerFileContents } from '../../src/data/index.ts';
import { linearize, LinnetError, loadCausalModel, loadModel, Random, saveModel } from '../../src/index.ts';
import { describeCausalModel, describeModel, initializeParameters } from '../../src/models/index.ts';
import { readRun } from '../../src/report/index.ts';
import { distill, finetune, pretrain, trainHeads, type TrainingResult } from '../../src/training/index.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const settings = { batch: 8, learningRate: 1e-2, length: 24, seed: 3, snapshotEvery: 5, threads: 1 } as const;

const song = 'The linnet on the wire sings what the wind round the house has sung.';

/** The weights of a saved folder. */
const weights = (out: string, file = 'model.safetensors'): Promise<Buffer> => readFile(join(out, file));

async function save(name: string, config = tinyConfig(name), files = tokenizerFileContents(byteTokenizerFiles())) {
  const model = describeModel(config);
  await saveModel(
    at(name),
    { model, parameters: initializeParameters(model, new Random(1), 0.3) },
    { tokenizerFiles: files },
  );
}

beforeAll(async () => {
  for (const family of ['llama', 't5']) await save(family);
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...letters, ...letters.map((letter) => `##${letter}`)];
  await save(
    'bert',
    { ...tinyConfig('bert'), vocab_size: words.length },
    new Map([['vocab.txt', `${words.join('\n')}\n`]]),
  );
  const birds = ['linnet', 'finch', 'wren', 'lark'];
  const fish = ['trout', 'perch', 'carp', 'eel'];
  const labelled = Array.from({ length: 48 }, (_, i) => {
    const [names, label] = i % 2 === 0 ? [birds, 'bird'] : [fish, 'fish'];
    return { sentence: `${names[i % 4]} ${names[(i >> 2) % 4]}`, label };
  });
  await writeFile(
    at('train.tsv'),
    `sentence\tlabel\n${labelled.map(({ sentence, label }) => `${sentence}\t${label}\n`).join('')}`,
  );
  const pairs = labelled.map(({ sentence }) => ({ source: sentence, target: sentence.split(' ')[0] }));
  await writeFile(at('pairs.jsonl'), pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(''));
  await writeFile(at('song.jsonl'), `${JSON.stringify({ text: song })}\n`.repeat(12));
});

/** The mean loss of the last steps of a run is clearly below that of the first ones. */
async function expectLearned({ run, steps }: TrainingResult): Promise<void> {
  const { record, metrics } = await readRun(run);
  expect(record).toMatchObject({ status: 'finished', command: [] });
  expect(metrics).toHaveLength(steps);
  const losses = metrics.map(({ loss }) => Number(loss));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean(losses.slice(-5))).toBeLessThan(0.8 * mean(losses.slice(0, 3)));
}

describe('finetune', () => {
  it('teaches BERT labels', async () => {
    const result = await finetune(at('bert'), {
      ...settings,
      objective: 'classify',
      data: [at('train.tsv')],
      textField: 'sentence',
      labelSmoothing: 0.05,
      steps: 40,
      out: at('labels'),
    });
    expect(result).toMatchObject({ out: at('labels'), run: at('labels.run'), steps: 40, details: {} });
    await expectLearned(result);
    const config: unknown = JSON.parse(await readFile(join(result.out, 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      architectures: ['BertForSequenceClassification'],
      id2label: { '0': 'bird', '1': 'fish' },
    });
  });

  it('teaches T5 pairs of texts', async () => {
    const fields = { sourceField: 'source', targetField: 'target' };
    const result = await finetune(at('t5'), {
      ...settings,
      ...fields,
      data: [at('pairs.jsonl')],
      steps: 40,
      out: at('pairs'),
    });
    await expectLearned(result);
    expect((await loadModel(result.out)).model.kind).toBe('encoder-decoder');
  });

  it('trains low-rank updates of LLaMA, as a model or an adapter', async () => {
    const low = {
      ...settings,
      data: [at('song.jsonl')],
      lora: { rank: 2, targets: ['q', 'v'] },
      loraTrain: ['norms'],
      steps: 30,
    } as const;
    const merged = await finetune(at('llama'), { ...low, out: at('merged') });
    const before = await loadCausalModel(at('llama'));
    const after = await loadCausalModel(merged.out);
    const changed = [...before.parameters.keys()].filter(
      (name) => String(before.parameters.get(name)?.data) !== String(after.parameters.get(name)?.data),
    );
    expect(changed.length).toBeGreaterThan(0);
    for (const name of changed) expect(name).toMatch(/norm|[qv]_proj/);
    const adapter = await finetune(at('llama'), { ...low, loraSave: 'adapter', out: at('adapter') });
    expect(adapter.details).toEqual({ adapter: true });
    expect((await weights(adapter.out, 'adapter_model.safetensors')).length).toBeGreaterThan(0);
  });

  it('stopped and taken up again ends with the bytes and the loss of an unbroken run', async () => {
    const options = { ...settings, data: [at('song.jsonl')], steps: 20, snapshotEvery: 4 };
    const whole = await finetune(at('llama'), { ...options, out: at('whole') });
    for (const stopAt of [3, 11]) {
      const abort = new AbortController();
      const stopped = finetune(
        at('llama'),
        { ...options, resume: stopAt > 3, out: at('stopped') },
        {
          signal: abort.signal,
          onUpdate: ({ update }) => {
            if (update === stopAt) abort.abort();
          },
        },
      );
      await expect(stopped).rejects.toMatchObject({
        code: 'ABORTED',
        message: expect.stringMatching(/`resume`/) as unknown,
      });
    }
    const resumed = await finetune(at('llama'), { ...options, resume: true, out: at('stopped') });
    expect((await weights(resumed.out)).equals(await weights(whole.out))).toBe(true);
    expect(resumed).toMatchObject({ loss: whole.loss, steps: 20, tokens: whole.tokens });
    // Nothing is left to do but the saving: that still reports the loss of the run.
    const again = await finetune(at('llama'), { ...options, resume: true, replace: true, out: at('stopped') });
    expect(again.loss).toBe(whole.loss);
    expect(again.tokensPerSecond).toBeUndefined();
  });

  it('refuses to resume with other settings, and says which', async () => {
    const options = { ...settings, data: [at('song.jsonl')], steps: 4, out: at('settled') };
    await finetune(at('llama'), options);
    const other = finetune(at('llama'), { ...options, learningRate: 2e-2, resume: true, replace: true });
    await expect(other).rejects.toMatchObject({
      code: 'MISMATCH',
      message: expect.stringContaining('settings.learningRate: was 0.01, is 0.02') as unknown,
    });
    const divided = finetune(at('llama'), { ...options, microBatch: 1, resume: true, replace: true });
    await expect(divided).rejects.toMatchObject({
      code: 'MISMATCH',
      message: expect.stringContaining('micro') as unknown,
    });
  });

  it('refuses to resume from other weights, and says so', async () => {
    const model = describeModel(tinyConfig('llama'));
    const parameters = initializeParameters(model, new Random(2), 0.3);
    const tokenizerFiles = tokenizerFileContents(byteTokenizerFiles());
    await saveModel(at('reweighted'), { model, parameters }, { tokenizerFiles });
    const options = { ...settings, data: [at('song.jsonl')], steps: 4, out: at('of other weights') };
    await finetune(at('llama'), options);
    const other = finetune(at('reweighted'), { ...options, steps: 5, resume: true, replace: true });
    await expect(other).rejects.toThrow(/another model.*\nweights: was "\w+"?…?, is "\w+"?…?$/);
  });

  it('has a run folder to itself', async () => {
    const options = { ...settings, data: [at('song.jsonl')], steps: 4, out: at('alone') };
    // Either may come first.
    const runs = await Promise.allSettled([finetune(at('llama'), options), finetune(at('llama'), options)]);
    const [refused] = runs.filter((run) => run.status === 'rejected');
    expect(String(refused?.reason)).toContain(`in use by process ${process.pid}`);
    expect(runs.flatMap((run) => (run.status === 'fulfilled' ? [run.value.steps] : []))).toEqual([4]);
  });

  it.each([
    [{ steps: 2, epochs: 1 }, '`steps` and `epochs` exclude each other'],
    [{ warmup: 2, warmupShare: 0.1 }, '`warmup` and `warmupShare` exclude each other'],
    [{ loraTrain: ['norms' as const] }, '`loraTrain` needs `lora`'],
    [{ sourceField: 'source' }, 'go together'],
    [{ textField: 'sentence' }, 'the objective causal reads no `textField`'],
    [{ sourceField: 'a', targetField: 'b' }, 'the objective causal reads no `sourceField`'],
    [{ batch: 0 }, '`batch`'],
    [{ objective: 'masked' as const }, 'needs a model of kind "encoder"'],
  ])('refuses %j', async (wrong, message) => {
    const refused = finetune(at('llama'), { ...settings, data: [at('song.jsonl')], out: at('refused'), ...wrong });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(LinnetError);
  });
});

describe('a converted model', () => {
  it('is distilled', async () => {
    const { model, parameters, path } = await loadCausalModel(at('llama'));
    const student = linearize(model, parameters, mixerPreset('hedgehog'), [1]);
    await saveModel(at('student'), student, { tokenizerFiles: { from: path } });
    const result = await distill(at('llama'), at('student'), {
      ...settings,
      data: [at('song.jsonl')],
      steps: 30,
      learningRate: 2e-2,
      out: at('distilled'),
    });
    expect(result.details).toEqual({ layers: [1] });
    await expectLearned(result);
  });

  it('goes on with the objective of its run where more steps are asked for, and with its kept logits where fewer are', async () => {
    const logits = { ...settings, data: [at('song.jsonl')], stage: 'logits', batch: 2, snapshotEvery: 1 } as const;
    for (const [first, then, top] of [
      [2, 40, 0],
      [40, 3, 64],
    ]) {
      const out = at(`distilled ${first}`);
      const stop = new AbortController();
      const onUpdate = ({ update }: { readonly update: number }) => {
        if (update === 2) stop.abort();
      };
      const begun = distill(
        at('llama'),
        at('student'),
        { ...logits, steps: first, out },
        { signal: stop.signal, onUpdate },
      );
      await begun.catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ABORTED' });
      });
      const more = { ...logits, steps: then, out, resume: true, replace: true };
      const { steps, run } = await distill(at('llama'), at('student'), more);
      expect(steps).toBe(then);
      expect((await readRun(run)).record.configuration.teacherTop).toBe(top);
    }
  });
});

describe('trainHeads', () => {
  it('trains Medusa heads, and saves what was measured of them', async () => {
    const options = { ...settings, data: [at('song.jsonl')], heldOut: 2, heads: 2, steps: 60, out: at('heads') };
    const measured = {
      accuracy: [
        [0.5, 0.75],
        [0.25, 0.5],
      ],
      positions: 40,
    };
    const result = await trainHeads(at('llama'), options, {
      async measure({ heldOut, medusa, parameters }) {
        expect(medusa.heads).toBe(2);
        expect(heldOut.every(({ tokens }) => tokens.length <= settings.length + 1)).toBe(true);
        expect([...parameters.keys()].some((name) => name.startsWith('medusa'))).toBe(true);
        return measured;
      },
    });
    expect(result.details).toEqual({ heads: 2, headLayers: 1, measured });
    await expectLearned(result);
    const heads = await loadMedusaHeads(result.out, await loadCausalModel(result.out));
    expect(heads).toMatchObject({ config: { heads: 2, layers: 1 }, accuracy: measured.accuracy });
  });
});

describe('pretrain', () => {
  it('makes a model with the mixer that is asked for', async () => {
    const mixer = mixerPreset('augmented', { group: 8, kernel: 5 });
    const plan = { ...settings, data: [at('song.jsonl')], steps: 6, mixer };
    const result = await pretrain(tinyConfig('llama'), { ...plan, out: at('fresh') });
    const { model } = await loadCausalModel(result.out);
    expect(model.mixers).toEqual(describeCausalModel(tinyConfig('llama')).mixers.map(() => mixer));
  });

  it('refuses weights over the limit of memory before it draws them', async () => {
    const huge = { ...tinyConfig('llama'), hidden_size: 1 << 18, intermediate_size: 1 << 20, head_dim: 8 };
    const refused = pretrain(huge, { ...settings, data: [at('song.jsonl')], steps: 1, out: at('huge') });
    await expect(refused).rejects.toThrow(/a model in memory takes about .*, and the limit is /);
  });
});
