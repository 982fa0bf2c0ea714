/** Every objective from the command line, on tiny models of the kinds: what is learned, saved, measured and resumed. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadClassifier } from '../../src/checkpoint/load-classifier.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { openSafetensors } from '../../src/checkpoint/safetensors/reader.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { thirdParty } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel, tinyConfig } from '../models/tiny-model.ts';
import { expectSameAfterResume, losses } from './trained-runs.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  for (const family of ['gpt2', 'llama', 't5']) await saveTinyModel(at(family), 1, family);
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
  const vocabulary = [
    '[PAD]',
    '[UNK]',
    '[CLS]',
    '[SEP]',
    '[MASK]',
    ...letters,
    ...letters.map((letter) => `##${letter}`),
  ];
  const bert = describeModel({ ...tinyConfig('bert'), vocab_size: vocabulary.length });
  const tokenizerFiles = new Map([['vocab.txt', `${vocabulary.join('\n')}\n`]]);
  await saveModel(
    at('bert'),
    { model: bert, parameters: initializeParameters(bert, new Random(1), 0.3) },
    { tokenizerFiles },
  );
  // The class of a text is whether it is about birds.
  const words = { bird: ['linnet', 'finch', 'wren', 'lark'], fish: ['trout', 'perch', 'carp', 'eel'] } as const;
  const random = new Random(2);
  const pick = (label: 'bird' | 'fish'): string => words[label][random.integer(4)];
  const texts = Array.from({ length: 48 }, (_, i) => {
    const label = i % 2 === 0 ? 'bird' : 'fish';
    return { text: `${pick(label)} ${pick(label)}${i % 3 === 0 ? ` ${pick(label)}` : ''}`, label };
  });
  await writeFile(at('train.tsv'), `text\tlabel\n${texts.map(({ text, label }) => `${text}\t${label}\n`).join('')}`);
  await writeFile(
    at('dev.csv'),
    texts
      .slice(0, 20)
      .map(({ text, label }) => `"${label}","${text}"\n`)
      .join(''),
  );
  const pairs = texts.map(({ text }) => ({
    source: text,
    target: text.split(' ')[0],
    text: `${text} ${text} ${text}`,
  }));
  await writeFile(at('pairs.jsonl'), pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(''));
});

const settings = ['--batch', '8', '--lr', '1e-2', '--length', '24', '--seed', '3', '--snapshot-every', '5'];

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('classify', () => {
  it.each([
    ['gpt2', 'score.weight', 'GPT2ForSequenceClassification'],
    ['llama', 'score.weight', 'LlamaForSequenceClassification'],
    ['bert', 'classifier.weight', 'BertForSequenceClassification'],
    ['t5', 'transformer.shared.weight', 'T5ForSequenceClassification'],
  ])('%s learns the labels, and its folder is Hugging Face’s', async (family, stored, architecture) => {
    const out = at(`${family}-classes`);
    const data = ['--data', at('train.tsv')];
    const command = ['finetune', at(family), '--objective', 'classify', ...data, ...settings, '--steps', '40'];
    await runJson(...command, '--out', out);
    const json: unknown = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(json).toMatchObject({
      architectures: [architecture],
      id2label: { '0': 'bird', '1': 'fish' },
      label2id: { bird: 0, fish: 1 },
    });
    const file = await openSafetensors(join(out, 'model.safetensors'));
    expect(file.names()).toContain(stored);
    expect(file.names()).not.toContain('lm_head.weight');
    await file.close();
    const dev = ['--data', at('dev.csv'), '--text-field', '2', '--label-field', '1'];
    const reported = await runJson('eval', 'accuracy', out, ...dev);
    expect(reported).toMatchObject({
      texts: 20,
      classes: [
        { label: 'bird', texts: 10 },
        { label: 'fish', texts: 10 },
      ],
    });
    expect(reported.accuracy).toBeGreaterThan(0.9);
    // What is a classifier goes on as one.
    const further = at(`${family}-further`);
    await runJson('finetune', out, ...data, ...settings, '--steps', '2', '--out', further);
    expect((await loadClassifier(further)).model.labels).toEqual(['bird', 'fish']);
  });

  it('is resumed to the same bytes, adapts by low rank, and refuses other labels', async () => {
    const data = ['--data', at('train.tsv')];
    const command = ['finetune', at('gpt2'), '--objective', 'classify', ...data, ...settings, '--steps', '12'];
    const lora = ['--lora', 'r=2', '--lora-train', 'norms'];
    await runJson(...command, ...lora, '--out', at('low-rank'));
    await expectSameAfterResume([...command, ...lora], at('low-rank'));
    await writeFile(at('other.tsv'), 'text\tlabel\na b\tcat\nc d\tdog\n');
    const other = ['finetune', at('low-rank'), '--data', at('other.tsv'), ...settings, '--out', at('refused')];
    expect((await runCaptured(other)).stderr).toMatch(/tells bird, fish apart and cannot learn the classes cat, dog/);
    const adapter = await runCaptured([...command, ...lora, '--lora-save', 'adapter', '--out', at('refused')]);
    expect(adapter.stderr).toMatch(/--lora-save is adapter, .* take merged/);
    const causal = await runCaptured(['eval', 'accuracy', at('gpt2'), '--data', at('train.tsv')]);
    expect(causal.stderr).toMatch(/ForSequenceClassification/);
    const column = ['eval', 'accuracy', at('low-rank'), '--data', at('train.tsv'), '--text-field', 'sentence'];
    expect((await runCaptured(column)).stderr).toMatch(
      /train.tsv:2 has no field "sentence"; its fields are: text, label/,
    );
  });

  const news = thirdParty('tasks/ag_news-train.csv');
  it.skipIf(news === undefined)('learns news topics from a table without header (third-party fixture)', async () => {
    const columns = ['--text-field', '2', '--label-field', '1'];
    const command = ['finetune', at('gpt2'), '--objective', 'classify', '--data', news ?? '', ...columns, ...settings];
    await runJson(...command, '--steps', '3', '--out', at('news'));
    const reported = await runJson(
      'eval',
      'accuracy',
      at('news'),
      '--data',
      thirdParty('tasks/ag_news-test.csv') ?? '',
      ...['--text-field', '2', '--label-field', '1'],
    );
    expect(reported.classes).toHaveLength(4);
  });
});

describe('masked', () => {
  it('is what an encoder learns, resumed to the same bytes', async () => {
    const data = ['--data', at('pairs.jsonl')];
    const command = ['finetune', at('bert'), ...data, ...settings, '--steps', '60'];
    await runJson(...command, '--out', at('masked'));
    const found = await losses(at('masked'));
    expect(mean(found.slice(-10))).toBeLessThan(0.8 * mean(found.slice(0, 5)));
    await expectSameAfterResume(command, at('masked'));
  });

  it('is not for other kinds, nor for tokenizers without a mask', async () => {
    const data = ['--data', at('pairs.jsonl')];
    const command = ['finetune', at('llama'), '--objective', 'masked', ...data, '--out', at('refused')];
    expect((await runCaptured(command)).stderr).toMatch(
      /needs a model of kind "encoder"; a llama model is of kind "causal"/,
    );
    expect(existsSync(at('refused'))).toBe(false);
  });
});

describe('seq2seq', () => {
  it.each([
    ['pairs', ['--source-field', 'source', '--target-field', 'target']],
    ['spans', []],
  ])('learns %s, resumed to the same bytes', async (name, fields) => {
    const command = ['finetune', at('t5'), '--data', at('pairs.jsonl'), ...fields, ...settings, '--steps', '40'];
    await runJson(...command, '--out', at(name));
    const found = await losses(at(name));
    expect(mean(found.slice(-5))).toBeLessThan(0.8 * mean(found.slice(0, 3)));
    await expectSameAfterResume(command, at(name));
  });

  it('needs both fields', async () => {
    const data = ['--data', at('pairs.jsonl'), '--source-field', 'source'];
    const words = ['finetune', at('t5'), ...data, '--out', at('refused')];
    expect((await runCaptured(words)).stderr).toMatch(/go together/);
  });
});
