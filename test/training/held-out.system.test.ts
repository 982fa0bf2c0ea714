/**
 * Held-out loss while training goes on: the parameters of its lowest are kept, a run that only gets worse ends early, both
 * over a stop and a resume; and what a run leaves in its folder.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/index.ts';
import { linearize, loadCausalModel, saveModel } from '../../src/index.ts';
import { readRun } from '../../src/report/index.ts';
import {
  distill,
  finetune,
  type FinetuneOptions,
  pretrain,
  trainHeads,
  type TrainingResult,
} from '../../src/training/index.ts';
import { runJson } from '../cli/captured-cli.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const weights = (out: string): Promise<Buffer> => readFile(join(out, 'model.safetensors'));

/** What is trained on says little about what is held out: the loss on it falls, then rises. */
const training = {
  data: [at('texts.jsonl')],
  heldOut: 2,
  ...{ batch: 4, length: 24, seed: 3, threads: 1, schedule: 'constant', learningRate: 2e-2 },
  ...{ steps: 60, evaluateEvery: 2, patience: 3, snapshotEvery: 4 },
} satisfies Partial<FinetuneOptions>;

beforeAll(async () => {
  for (const family of ['llama', 't5']) await saveTinyModel(at(family), 1, family);
  const song = 'The linnet on the wire sings what the wind round the house has sung.';
  const other = ['It was a dark and stormy night; the rain fell in torrents.', 'Call me Ishmael. Some years ago.'];
  const texts = [...Array.from({ length: 10 }, () => song), ...other];
  await writeFile(at('texts.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const labelled = Array.from({ length: 16 }, (_, i) => `${'ab'[i % 2].repeat(3 + i)},${'xy'[i % 2]}\n`);
  await writeFile(at('labels.csv'), `text,label\n${labelled.join('')}`);
});

/** The measurements that a run recorded. */
async function measurements({ run }: Pick<TrainingResult, 'run'>): Promise<{ update: number; loss: number }[]> {
  const { metrics } = await readRun(run);
  return metrics.flatMap(({ update, heldOutLoss }) =>
    heldOutLoss === undefined ? [] : [{ update: Number(update), loss: Number(heldOutLoss) }],
  );
}

describe('held-out loss', () => {
  it('ends a run that only gets worse, with the parameters of its lowest', async () => {
    const result = await finetune(at('llama'), { ...training, out: at('early') });
    const found = await measurements(result);
    const lowest = found.reduce((best, next) => (next.loss < best.loss ? next : best));
    expect(found.map(({ update }) => update)).toEqual(found.map((_, i) => 2 * (i + 1)));
    expect(lowest.update).toBeLessThan(found.at(-1)?.update ?? 0);
    expect(result).toMatchObject({ best: lowest.update, heldOutLoss: lowest.loss, steps: lowest.update + 3 * 2 });
    // At a constant rate a run of as many steps ends with the same parameters.
    const { patience: _, evaluateEvery: __, ...plain } = training;
    const short = await finetune(at('llama'), { ...plain, steps: lowest.update, out: at('short') });
    expect(short.heldOutLoss).toBeUndefined();
    expect((await weights(result.out)).equals(await weights(short.out))).toBe(true);
    const last = await finetune(at('llama'), { ...training, keep: 'last', out: at('last') });
    expect(last).toMatchObject({ best: undefined, heldOutLoss: found.at(-1)?.loss, steps: result.steps });
    expect((await weights(last.out)).equals(await weights(short.out))).toBe(false);
  });

  it('survives stops at every moment around the lowest', async () => {
    const whole = await finetune(at('llama'), { ...training, out: at('whole') });
    const best = whole.best ?? 0;
    for (const stopAt of [best - 1, best, best + 1, best + 5]) {
      const abort = new AbortController();
      const stopped = finetune(
        at('llama'),
        { ...training, resume: true, out: at('stopped') },
        {
          signal: abort.signal,
          onUpdate: ({ update }) => {
            if (update === stopAt) abort.abort();
          },
        },
      );
      await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    }
    const resumed = await finetune(at('llama'), { ...training, resume: true, out: at('stopped') });
    expect(resumed).toMatchObject({ best, heldOutLoss: whole.heldOutLoss, steps: whole.steps });
    expect((await weights(resumed.out)).equals(await weights(whole.out))).toBe(true);
    expect(await measurements(resumed)).toEqual(await measurements(whole));
  });

  it.each<[string, string, Partial<FinetuneOptions>]>([
    ['labels', 'llama', { objective: 'classify', data: [at('labels.csv')], heldOut: 5 }],
    ['spans cut out of text', 't5', {}],
    ['low-rank updates', 'llama', { lora: { rank: 2, targets: ['q'] } }],
  ])('is measured of %s', async (name, model, options) => {
    const result = await finetune(at(model), { ...training, steps: 4, ...options, out: at(name) });
    expect((await measurements(result)).map(({ update }) => update)).toEqual([2, 4]);
    expect(result.heldOutLoss).toBeGreaterThan(0);
  });

  it('is measured in pretraining, and reported by the command', async () => {
    const words = ['--data', training.data[0], '--held-out', '2', '--steps', '4', '--batch', '4', '--length', '24'];
    const result = await runJson('finetune', at('llama'), ...words, '--evaluate-every', '2', '--out', at('by-command'));
    expect(result).toMatchObject({ steps: 4, heldOutLoss: expect.any(Number) as unknown });
    const { vocab_size: _, ...config } = { vocab_size: 0, model_type: 'llama', hidden_size: 16, intermediate_size: 16 };
    const sizes = { num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 64, vocab_size: 258 };
    const trained = await pretrain({ ...config, ...sizes }, { ...training, steps: 2, out: at('fresh') });
    expect(trained.heldOutLoss).toBeGreaterThan(0);
  });

  it.each(['llama', 't5'])('is measured of draft heads of %s', async (model) => {
    // Rows are seen several times: hidden states of the frozen model are kept, of held-out rows they are not.
    const options = { ...training, heads: 2, steps: 6, hiddenStates: 'memory', out: at(`${model}-heads`) } as const;
    const result = await trainHeads(at(model), options);
    const found = await measurements(result);
    expect(found.map(({ update }) => update)).toEqual([2, 4, 6].slice(0, found.length));
    expect(result.heldOutLoss).toBe(Math.min(...found.map(({ loss }) => loss)));
    expect(found[1].loss).not.toBe(found[0].loss);
  });

  it.each(['attention', 'logits'] as const)('is measured of a student of %s', async (stage) => {
    const { model, parameters, path } = await loadCausalModel(at('llama'));
    const student = linearize(model, parameters, mixerPreset('hedgehog'), [1]);
    await saveModel(at(`student-${stage}`), student, { tokenizerFiles: { from: path } });
    const options = { ...training, steps: 4, learningRate: 2e-3, stage, out: at(`taught-${stage}`) } as const;
    const result = await distill(at('llama'), at(`student-${stage}`), options);
    const found = await measurements(result);
    const lowest = found[0].loss <= found[1].loss ? found[0] : found[1];
    expect(found.map(({ update }) => update)).toEqual([2, 4]);
    expect(result).toMatchObject({ best: lowest.update, heldOutLoss: lowest.loss });
  });

  it('is refused where nothing is held out', async () => {
    const wrong = (options: Partial<FinetuneOptions>): Promise<unknown> =>
      finetune(at('llama'), { ...training, ...options, out: at('never') });
    await expect(wrong({ heldOut: 0 })).rejects.toThrow('`evaluateEvery` needs held-out data');
    await expect(wrong({ evaluateEvery: undefined })).rejects.toThrow('`patience` counts held-out measurements');
  });
});

describe('a run', () => {
  const plain = { ...training, evaluateEvery: undefined, patience: undefined };

  it('goes on for more steps than it was planned for', async () => {
    const whole = await finetune(at('llama'), { ...plain, steps: 8, out: at('eight') });
    await finetune(at('llama'), { ...plain, steps: 4, out: at('longer') });
    const longer = await finetune(at('llama'), { ...plain, steps: 8, resume: true, replace: true, out: at('longer') });
    expect(longer).toMatchObject({ steps: 8, loss: whole.loss });
    expect((await weights(longer.out)).equals(await weights(whole.out))).toBe(true);
    const fewer = finetune(at('llama'), { ...plain, steps: 6, resume: true, replace: true, out: at('longer') });
    await expect(fewer).rejects.toThrow('has done 8 optimizer steps, more than the 6 of this run');
  });

  it('leaves results, what it read, its curves and a table', async () => {
    const { run, loss } = await finetune(at('llama'), { ...training, steps: 6, out: at('recorded') });
    const { record } = await readRun(run);
    expect(record.results).toMatchObject({ loss, steps: 6, heldOutLoss: expect.any(Number) as unknown });
    expect(record.results?.peakMemoryBytes).toBeGreaterThan(10 << 20);
    expect(record.configuration.read).toMatchObject({ rows: expect.any(Number) as unknown, length: 24 });
    expect(JSON.stringify(record.configuration.read)).toMatch(/"fingerprint":"[0-9a-f]{64}"/);
    const table = (await readFile(join(run, 'metrics.csv'), 'utf8')).trim().split('\n');
    expect(table[0]).toBe('update,loss,heldOutLoss,gradientNorm,learningRate,tokens,seconds');
    expect(table).toHaveLength(1 + 6);
    expect(table[2].split(',')[2]).toMatch(/^\d/);
    expect(table[1].split(',')[2]).toBe('');
    expect(await readFile(join(run, 'curves.svg'), 'utf8')).toMatch(/<svg.*held-out/s);
    expect(await readFile(join(run, 'curves.html'), 'utf8')).toMatch(/^<!doctype html>.*Learning rate/s);
  });
});
