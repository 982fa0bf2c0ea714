/** Studies of classifiers: the plan in assets, GLUE in the layout of the fixtures, and plans that cannot be run. */
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, runCaptured, runJson } from './captured-cli.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const example = resolve('assets/sweeps/classification.json');

const reported = z.object({
  report: z.string(),
  rows: z.array(
    z.object({
      model: z.string(),
      method: z.string(),
      average: z.number().nullable(),
      cells: z.array(
        z.object({
          task: z.string(),
          score: z.number().nullable(),
          measures: z.record(z.string(), z.object({ mean: z.number().nullable(), deviation: z.number().nullable() })),
        }),
      ),
    }),
  ),
  trials: z.array(z.object({ seconds: z.number(), measures: z.record(z.string(), z.number().nullable()) })),
});

/** The example with other fields, in a file next to it so that its paths hold. */
async function plan(name: string, fields: Record<string, unknown>): Promise<string> {
  const text = (await readFile(example, 'utf8'))
    .replaceAll('../tiny-llama', resolve('assets/tiny-llama'))
    .replaceAll('"reviews/', `"${resolve('assets/sweeps/reviews')}/`);
  const given = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  await writeFile(at(name), JSON.stringify({ ...given, ...fields }));
  return at(name);
}

/** Its models, with settings of the plan alone. */
async function models(): Promise<Record<'GPT2' | 'BERT' | 'text', object>> {
  const schema = z.object({ models: z.record(z.string(), z.looseObject({ training: z.unknown() })) });
  const given = schema.parse(JSON.parse(await readFile(await plan('models.json', {}), 'utf8')));
  const own = (name: string): object => ({ ...given.models[name], training: undefined });
  return { GPT2: own('GPT-2'), BERT: own('BERT'), text: own('T5 as text') };
}

describe('a study of classifiers', () => {
  it('runs families × methods × seeds, reports them, and finds its results again', async () => {
    const { GPT2, BERT, text } = await models();
    const fields = { models: { GPT2, BERT, text }, seeds: [1] };
    const training = { steps: 2, batch: 8, length: 24, learningRate: 0.003 };
    const file = await plan('quick.json', { ...fields, training });
    const { rows, trials, report } = reported.parse(
      await runJson('study', 'sweep', '--plan', file, '--out', at('quick')),
    );
    expect(rows.map(({ model, method }) => `${model} ${method}`)).toEqual(
      ['GPT2', 'BERT', 'text'].flatMap((model) => [`${model} softmax`, `${model} augmented`]),
    );
    expect(trials).toHaveLength(6);
    for (const { cells, average } of rows) {
      expect(cells.map(({ task }) => task)).toEqual(['reviews']);
      expect(average).toBe(cells[0].measures.accuracy.mean);
      expect(average).toBeGreaterThan(0);
    }
    expect(await readFile(report, 'utf8')).toContain('Reviews: three families');
    const again = reported.parse(await runJson('study', 'sweep', '--plan', file, '--out', at('quick')));
    expect(again.trials).toEqual(trials);
    const other = await plan('quick.json', { ...fields, training: { ...training, steps: 3 } });
    const refused = await runCaptured(['study', 'sweep', '--plan', other, '--out', at('quick'), '--json']);
    expect(errorOf(refused).code).toBe('MISMATCH');
  }, 120_000);

  it('learns what reviews say, as a head and as text, over seeds', async () => {
    const { GPT2, text } = await models();
    const methods = { softmax: { preset: 'unchanged' } };
    const training = { steps: 60, batch: 8, length: 24, learningRate: 0.01, warmup: 5 };
    const file = await plan('learn.json', { models: { GPT2, text }, methods, training, seeds: [1, 2] });
    const { rows } = reported.parse(await runJson('study', 'sweep', '--plan', file, '--out', at('learn')));
    for (const { average, cells } of rows) {
      expect(average).toBeGreaterThanOrEqual(0.8);
      expect(cells[0].measures.accuracy.deviation).toBeGreaterThanOrEqual(0);
    }
  }, 60_000);

  const data = thirdParty('evaluation/tasks');
  it.skipIf(data === undefined)(
    'reads GLUE, STS-B by a regression head and as text (third-party fixture)',
    async () => {
      const { GPT2, text } = await models();
      const file = await plan('glue.json', {
        ...{ data, models: { GPT2, text }, methods: { softmax: { preset: 'unchanged' } }, seeds: [1] },
        tasks: ['sst2', 'mrpc', 'cola', 'stsb', 'mnli_mismatched'],
        limit: { train: 16, validation: 8 },
        training: { steps: 2, batch: 4, length: 48 },
      });
      const { rows } = reported.parse(await runJson('study', 'sweep', '--plan', file, '--out', at('glue')));
      for (const { cells } of rows) {
        expect(cells.map(({ task, measures }) => [task, Object.keys(measures)])).toEqual([
          ['sst2', ['accuracy']],
          ['mrpc', ['accuracy', 'f1']],
          ['cola', ['matthews']],
          ['stsb', ['pearson', 'spearman']],
          ['mnli_mismatched', ['accuracy']],
        ]);
      }
    },
    120_000,
  );

  it.each([
    ['an unknown task', { tasks: ['nope'] }, 'CONFIG', /sst2/],
    ['GLUE without data', { tasks: ['sst2'] }, 'CONFIG', /need "data"/],
    ['GLUE that is not there', { tasks: ['sst2'], data: '/nowhere' }, 'NOT_FOUND', /nowhere/],
    ['a task twice', { tasks: ['sst2', 'sst2'] }, 'CONFIG', /task is listed twice/],
    ['an unknown mixer', { methods: { x: { preset: 'nope' } } }, 'CONFIG', /nope/],
    ['a field that nobody knows', { surprise: 1 }, 'CONFIG', /surprise/],
  ])('refuses %s', async (_, fields, code, message) => {
    const run = await runCaptured([
      'study',
      'sweep',
      '--plan',
      await plan('bad.json', fields),
      '--out',
      at('bad'),
      '--json',
    ]);
    expect(errorOf(run)).toMatchObject({ code });
    expect(errorOf(run).message).toMatch(message);
  });

  it('names the row of a label that the training rows lack', async () => {
    await writeFile(at('v.jsonl'), '{"sentence":"a fine film","label":"good"}\n{"sentence":"odd","label":"odd"}\n');
    const train = [resolve('assets/sweeps/reviews/train.jsonl')];
    const tasks = [{ name: 'own', train, validation: [at('v.jsonl')], text: 'sentence' }];
    const training = { steps: 1, batch: 4, length: 16 };
    const file = await plan('label.json', { tasks, training, seeds: [1] });
    const run = await runCaptured(['study', 'sweep', '--plan', file, '--out', at('label'), '--json']);
    expect(errorOf(run).message).toMatch(/v.jsonl:2 has the label "odd"/);
  });
});
