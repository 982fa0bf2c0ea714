/** Classifying texts and pairs, and regression heads: trained, measured and asked, on tiny models. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { pearson } from '../../src/evaluation/tasks/metrics/statistics.ts';
import { open } from '../../src/open/index.ts';
import { Random } from '../../src/random.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { linnet, runCaptured, runJson } from './captured-cli.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const settings = ['--batch', '8', '--lr', '1e-2', '--length', '24', '--seed', '3'];

beforeAll(async () => {
  await saveTinyModel(at('gpt2'), 1, 'gpt2');
  const random = new Random(2);
  const word = (): string => ['linnet', 'finch', 'trout', 'perch'][random.integer(4)];
  // The class of a pair is whether its words are the same; its number is how many letters the first one has.
  const rows = Array.from({ length: 48 }, (_, i) => {
    const first = word();
    const second = i % 2 === 0 ? first : word();
    return { first, second, label: first === second ? 'same' : 'other', score: first.length - 4.5 };
  });
  await writeFile(at('pairs.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const data = ['--data', at('pairs.jsonl'), '--text-field', 'first'];
  const train = ['finetune', at('gpt2'), ...data, ...settings];
  const pair = ['--pair-field', 'second'];
  await runJson(...train, ...pair, '--objective', 'classify', '--steps', '8', '--out', at('pairs'));
  const number = ['--label-field', 'score', '--objective', 'regress'];
  await runJson(...train, ...number, '--steps', '40', '--out', at('numbers'));
}, 120_000);

const scored = z.object({ label: z.string(), scores: z.record(z.string(), z.number()) });

describe('classes', () => {
  it('has probabilities of all classes, the same as in the library', async () => {
    const texts = ['--text', 'linnet', '--pair', 'trout'];
    const answer = scored.parse(await runJson('classify', at('pairs'), ...texts));
    expect(Object.keys(answer.scores)).toEqual(['other', 'same']);
    const { other, same } = answer.scores;
    expect(other + same).toBeCloseTo(1, 12);
    expect(answer.label).toBe(other >= same ? 'other' : 'same');
    await using model = await open(at('pairs'), { kind: 'classifier' });
    const { label, probability, value } = await model.classify('linnet', 'trout');
    expect({ label, probability }).toEqual({ label: answer.label, probability: answer.scores[answer.label] });
    expect(value).toBeUndefined();
    // The second text is read.
    const alone = scored.parse(await runJson('classify', at('pairs'), '--text', 'linnet'));
    expect(alone.scores.same).not.toBe(same);
  });

  it('says which texts it did not read to their ends, and refuses lengths without room for any', async () => {
    const long = 'linnet '.repeat(20);
    const { stderr, stdout } = await linnet('classify', at('pairs'), '--text', long);
    expect(stderr).toContain('the text is longer than the 64 tokens that the model reads; the rest was left out');
    expect(stdout).toMatch(/(same|other) \(/);
    expect(await runJson('classify', at('pairs'), '--text', long)).toMatchObject({ omittedTokens: 20 * 7 + 1 - 64 });
    await writeFile(at('long.csv'), `text,label\n${long},a\nfinch,b\n`);
    const data = ['--data', at('long.csv')];
    const some = await linnet('classify', at('pairs'), ...data);
    expect(some.stderr).toContain('1 of the texts are longer than the 64 tokens');
    const learn = ['finetune', at('gpt2'), '--objective', 'classify', ...data, ...settings, '--steps', '1'];
    const learned = await linnet(...learn, '--out', at('cut'));
    expect(learned.stderr + learned.stdout).toContain('2 texts of 2 classes, 1 of them cut to 24 tokens');
    const none = await linnet(...learn, '--length', '1', '--out', at('no'));
    expect(none.stderr).toContain('--length is 1, of which the 1 tokens around a text leave no room; give more');
    const more = await linnet(...learn, '--length', '65', '--out', at('no'));
    expect(more.stderr).toContain('--length is 65; the model reads at most 64 tokens');
    await runJson(...learn, '--length', '64', '--out', at('longest'));
  });

  it('refuses options that it does not read', async () => {
    const fields = await linnet('classify', at('pairs'), '--text', 'linnet', '--text-field', 'first');
    expect(fields.exitCode).toBe(2);
    expect(fields.stderr).toContain('go with --data');
    const learn = ['finetune', at('gpt2'), '--objective', 'classify', '--data', at('pairs.jsonl'), ...settings];
    for (const option of ['--field=first', '--packing=document']) {
      const [name] = option.split('=');
      const { stderr } = await linnet(...learn, option, '--out', at('no'));
      expect(stderr).toContain(`the objective classify reads no ${name}`);
    }
  });

  it('classifies the rows of a file as one by one, and measures what they are worth', async () => {
    const fields = ['--data', at('pairs.jsonl'), '--text-field', 'first', '--pair-field', 'second'];
    const { out, texts } = await runJson('classify', at('pairs'), ...fields, '--out', at('classes.jsonl'));
    expect({ out, texts }).toEqual({ out: at('classes.jsonl'), texts: 48 });
    const lines = (await readFile(at('classes.jsonl'), 'utf8')).trim().split('\n');
    const results = lines.map((line) => scored.parse(JSON.parse(line)));
    const given = (await readFile(at('pairs.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => z.object({ first: z.string(), second: z.string(), label: z.string() }).parse(JSON.parse(line)));
    const one = await runJson('classify', at('pairs'), '--text', given[3].first, '--pair', given[3].second);
    expect(one).toEqual(results[3]);
    const counted = (truth: string, taken: string): number =>
      given.filter(({ label }, i) => label === truth && results[i].label === taken).length;
    const measured = await runJson('eval', 'accuracy', at('pairs'), ...fields);
    const confusion = ['other', 'same'].map((truth) => ['other', 'same'].map((taken) => counted(truth, taken)));
    expect(measured.confusion).toEqual(confusion);
    const [[trueOther, falseSame], [falseOther, trueSame]] = confusion;
    expect(measured.correct).toBe(trueOther + trueSame);
    expect(measured.f1).toBeCloseTo((2 * trueSame) / (2 * trueSame + falseSame + falseOther), 12);
  });

  it('reads a text from the input, and says what does not fit together', async () => {
    const words = ['classify', at('pairs'), '--text', '-', '--json'];
    const piped = await runCaptured(words, { lines: ['linnet'] });
    expect(JSON.parse(piped.stdout)).toEqual(await runJson('classify', at('pairs'), '--text', 'linnet'));
    expect((await linnet('classify', at('pairs'))).stderr).toMatch(/either --text or --data/);
    const both = await linnet('classify', at('pairs'), '--data', at('pairs.jsonl'), '--pair', 'b');
    expect(both.exitCode).toBe(2);
    expect(both.stderr).toMatch(/--pair-field/);
    const causal = await linnet('classify', at('gpt2'), '--text', 'a');
    expect(causal.exitCode).toBe(3);
    expect(causal.stderr).toMatch(/expected a classifier/);
  });

  it('prints a table for people', async () => {
    const { stdout } = await linnet('classify', at('pairs'), '--text', 'linnet', '--pair', 'linnet');
    expect(stdout).toMatch(/^(same|other) \(\d/);
    expect(stdout).toMatch(/class +probability/);
    const measured = await linnet(
      ...['eval', 'accuracy', at('pairs'), '--data', at('pairs.jsonl')],
      ...['--text-field', 'first', '--pair-field', 'second'],
    );
    expect(measured.stdout).toMatch(/Matthews [-−]?\d/);
    expect(measured.stdout).toMatch(/taken for/);
  });
});

describe('a regression head', () => {
  it('learns numbers by their squared error, and its folder is Hugging Face’s', async () => {
    const config: unknown = JSON.parse(await readFile(join(at('numbers'), 'config.json'), 'utf8'));
    expect(config).toMatchObject({ num_labels: 1, problem_type: 'regression', id2label: { '0': 'LABEL_0' } });
    const fields = ['--text-field', 'first', '--label-field', 'score'];
    const measured = await runJson('eval', 'accuracy', at('numbers'), '--data', at('pairs.jsonl'), ...fields);
    expect(measured.texts).toBe(48);
    // Numbers are ±0.5 or more apart; one that has learned nothing has the variance of them as its error.
    expect(measured.pearson).toBeGreaterThan(0.9);
    const values: number[] = [];
    await using model = await open(at('numbers'), { kind: 'classifier' });
    for (const text of ['linnet', 'finch', 'trout']) values.push((await model.classify(text)).value ?? Number.NaN);
    expect(values[0] - values[1]).toBeGreaterThan(0.3);
    const one = await runJson('classify', at('numbers'), '--text', 'linnet');
    expect(one).toEqual({ value: values[0] });
  });

  it('goes on as one, and refuses classes, as classifiers refuse numbers', async () => {
    const data = ['--data', at('pairs.jsonl'), '--text-field', 'first'];
    const numbers = [...data, '--label-field', 'score'];
    const more = ['--steps', '1', ...settings];
    await runJson('finetune', at('numbers'), ...numbers, ...more, '--out', at('numbers-further'));
    await runJson('finetune', at('numbers'), ...numbers, '--lora', 'r=2', ...more, '--out', at('numbers-adapted'));
    const classes = ['finetune', at('numbers'), ...data, '--objective', 'classify', ...more, '--out', at('refused')];
    expect((await linnet(...classes)).stderr).toMatch(/predicts a number and cannot learn the classes other, same/);
    const wrong = ['finetune', at('pairs'), ...numbers, '--objective', 'regress', ...more, '--out', at('refused')];
    expect((await linnet(...wrong)).stderr).toMatch(/tells other, same apart and cannot learn numbers/);
    const words = ['finetune', at('numbers'), ...data, ...more, '--out', at('refused')];
    expect((await linnet(...words)).stderr).toMatch(/pairs.jsonl:1 has the label "same"; regression expects a number/);
    await writeFile(at('empty.csv'), 'first,label\na,\nb,1\n');
    const empty = [
      'finetune',
      at('gpt2'),
      '--data',
      at('empty.csv'),
      '--text-field',
      'first',
      '--objective',
      'classify',
    ];
    expect((await linnet(...empty, ...more, '--out', at('no'))).stderr).toMatch(/empty.csv:2 has an empty label/);
    const over = ['classify', at('pairs'), '--data', at('pairs.jsonl'), '--out', at('pairs.jsonl')];
    expect((await linnet(...over)).stderr).toMatch(/--out is .*pairs.jsonl, which is given elsewhere too/);
    const smoothed = ['finetune', at('numbers'), ...numbers, ...more, '--label-smoothing', '0.1', '--out', at('no')];
    expect((await linnet(...smoothed)).exitCode).toBe(2);
  });
});

it('correlations do not depend on the number of texts', () => {
  const x = Array.from({ length: 300_000 }, (_, i) => i);
  expect(pearson(x, x)).toBeCloseTo(1, 9);
});
