/** Every command that takes a model takes a GGUF file; one that needs another kind of model says so. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { commandTable } from '../../src/cli/command-table.ts';
import { golden } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { linnet, runCaptured } from './captured-cli.ts';
import { fourStories, writeBook, writeJsonlTexts } from './text-data.ts';

const file = join(golden('gguf'), 'tokenizer-gpt2', 'model.gguf');
const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const [book, stories, labelled, plan, linear, adapter] = [
  'book.txt',
  'stories.jsonl',
  'rows.csv',
  'plan.json',
  'linear',
  'adapter',
].map(at);
const budget = ['--length', '32', '--batch', '2', '--steps', '1'];
const training = ['--data', book, ...budget];
const set = (field: string, value: unknown): string[] => ['--set', `${field}=${JSON.stringify(value)}`];

/** In order: later ones take results of earlier ones. */
const commands: Readonly<Record<string, readonly string[]>> = {
  inspect: [file],
  linearize: [file, '--mixer', 'augmented', '--out', linear],
  check: [file, '--max-length', '32'],
  export: [file, '--dtype', 'int4', '--out', at('export')],
  generate: [file, '--prompt', 'The', '--max-tokens', '4', '--speculate', 'draft', '--draft', file],
  chat: [file, '--max-tokens', '4'],
  serve: [file, '--port', '0', '--no-ui'],
  convert: [file, ...training.slice(0, -2), '--steps', '1,0,0', '--contexts', '32', '--out', at('converted')],
  finetune: [file, ...training, '--lora', 'r=2,alpha=4,targets=q,v', '--lora-save', 'adapter', '--out', adapter],
  merge: [file, adapter, '--out', at('merged')],
  distill: [file, linear, ...training, '--out', at('distilled')],
  'medusa train': [file, '--heads', '2', ...training, '--out', at('heads')],
  pretrain: ['llama-small', '--tokenizer', file, ...training, '--out', at('pretrained')],
  'eval perplexity': [file, linear, '--data', book, '--length', '32'],
  'eval agreement': [file, linear, '--data', book, '--length', '16', '--tokens', '4', '--prompts', '2'],
  'eval positions': ['--models', file, '--data', book, '--length', '64'],
  'eval tasks': [file, '--data', folder, '--tasks', 'piqa', '--shots', '0'],
  'study sweep': ['--plan', plan],
  'study recall': [...set('models', [file]), ...set('tests', [{ length: 64, pairs: 4, rows: 2 }])],
  'study needle': [...set('models', [file]), ...set('lengths', [1024]), ...set('depths', [0]), ...set('questions', 1)],
  'study rules': [...set('model', file), ...set('prompts', 1), ...set('maxTokens', 8)],
  bench: ['decode', file, '--context', '16', '--steps', '4'],
};

/** Of models of another kind, which GGUF files are not. */
const classifiers: Readonly<Record<string, readonly string[]>> = {
  classify: [file, '--text', 'a'],
  'eval accuracy': [file, '--data', labelled],
};

/** These take no model. */
const others = 'download, synth, eval rouge, study matrix, study leak, work, runs, clean, tokenizer train'.split(', ');

beforeAll(async () => {
  await writeBook(book, 60);
  await writeJsonlTexts(
    stories,
    fourStories.map((text) => text.repeat(9)),
  );
  await writeFile(labelled, 'text,label\na,yes\nb,no\n');
  await mkdir(at('piqa'));
  await writeFile(at('piqa/validation.jsonl'), '{"goal":"To sing","sol1":"take a breath","sol2":"sleep","label":0}\n');
  const sweep = {
    ...{ version: 1, title: 'one', data: [stories], heldOut: 1, windows: 2, tokenizer: file, seeds: [1] },
    models: { tiny: { folder: file } },
    methods: { softmax: { preset: 'softmax' } },
    training: { steps: 1, batch: 2, length: 16, learningRate: 1e-3 },
  };
  await writeFile(plan, JSON.stringify(sweep));
});

describe('a GGUF file is taken by', () => {
  it.each(Object.entries(commands))('%s', async (name, words) => {
    const ready = new AbortController();
    const isServer = name === 'serve';
    const run = await runCaptured([...name.split(' '), ...words], {
      ...(isServer && { signal: ready.signal, onOutput: () => ready.abort() }),
      lines: ['The quick'],
    });
    expect(run.exitCode, run.stderr).toBe(0);
  });

  it('every command that takes a model', () => {
    expect([...Object.keys(commands), ...Object.keys(classifiers), ...others].sort()).toEqual(
      Object.keys(commandTable).sort(),
    );
  });
});

it.each(Object.entries(classifiers))('%s says how a GGUF file becomes a classifier', async (name, words) => {
  const run = await linnet(...name.split(' '), ...words);
  expect(run.exitCode).toBe(3);
  expect(run.stderr).toContain('"linnet finetune MODEL --objective classify"');
});
