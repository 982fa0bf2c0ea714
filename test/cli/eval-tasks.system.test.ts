/** `linnet eval tasks` and `linnet eval rouge` from end to end, over rows of our own. */
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet, runCaptured, runJson } from './captured-cli.ts';

const model = 'assets/tiny-llama';
const folder = suiteFolder();
const data = join(folder, 'data');

const rows = Array.from({ length: 12 }, (_, i) => ({
  goal: `How do you carry ${i + 1} apples?`,
  sol1: 'In a basket.',
  sol2: `With ${i} spoons.`,
  label: i % 2,
}));
const lines = (values: readonly unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join('');

beforeAll(async () => {
  await mkdir(join(data, 'piqa'), { recursive: true });
  await writeFile(join(data, 'piqa', 'validation.jsonl'), lines(rows));
  await writeFile(join(data, 'piqa', 'train.jsonl'), lines(rows.map((row) => ({ ...row, goal: `${row.goal} Now!` }))));
  await mkdir(join(data, 'mine'), { recursive: true });
  await writeFile(join(data, 'mine', 'test.csv'), 'text,answer\nThe sky is,"blue, and"\nGrass is,green\n');
  await writeFile(
    join(folder, 'mine.yaml'),
    [
      ...['task: mine', 'dataset_path: local/mine', 'output_type: generate_until', 'test_split: test'],
      ...['columns: { text: text, answer: text }', 'doc_to_text: "Say: {{text}}"', 'doc_to_target: "{{answer}}"'],
      ...['generation_kwargs: { until: [".", "\\n"], max_gen_toks: 8 }', 'metric_list: [{ metric: exact_match }]'],
    ].join('\n'),
  );
});

const run = (...words: string[]) => linnet('eval', 'tasks', model, '--data', data, ...words);
const resultsOf = (value: unknown) => z.record(z.string(), z.record(z.string(), z.json())).parse(value);

describe('linnet eval tasks', () => {
  it('gives the numbers of tasks, and files in the format of the harness', async () => {
    const out = join(folder, 'out');
    const names = ['--tasks', `piqa,${join(folder, 'mine.yaml')}`, '--shots', '2', '--out', out];
    const json = await runJson('eval', 'tasks', model, '--data', data, ...names);
    const results = resultsOf(json.results);
    expect(results.piqa.sample_len).toBe(12);
    expect(results.piqa['acc,none']).toBeTypeOf('number');
    expect(results.piqa['acc_norm_stderr,none']).toBeTypeOf('number');
    expect(results.mine['exact_match,none']).toBe(0);
    expect(json['n-shot']).toEqual({ piqa: 2, mine: 2 });
    expect(json.tokensReused).toBeGreaterThan(0);
    const [place] = await readdir(out);
    const files = await readdir(join(out, place));
    expect(files.filter((name) => name.startsWith('samples_'))).toHaveLength(2);
    const file = files.find((name) => name.startsWith('results_')) ?? '';
    const written: unknown = JSON.parse(await readFile(join(out, place, file), 'utf8'));
    expect(written).toMatchObject({
      results: json.results,
      model_source: 'linnet',
      'n-samples': { piqa: { effective: 12 } },
    });
    const samples = files.find((name) => name.startsWith('samples_piqa')) ?? '';
    const [first] = (await readFile(join(out, place, samples), 'utf8')).split('\n');
    expect(JSON.parse(first)).toMatchObject({
      ...{ doc_id: 0, doc: rows[0], target: '0', filter: 'none', metrics: ['acc', 'acc_norm'] },
    });
  });

  it('speculates about answers, which stay the same', async () => {
    const task = join(folder, 'long.yaml');
    const mine = await readFile(join(folder, 'mine.yaml'), 'utf8');
    await writeFile(
      task,
      mine.replace('task: mine', 'task: long').replace(/until: .*gen_toks: 8/, 'until: ["@@"], max_gen_toks: 60'),
    );
    const answers = async (speculate: string) => {
      const out = join(folder, `speculate-${speculate}`);
      const names = ['--tasks', task, '--out', out, '--speculate', speculate];
      const json = await runJson('eval', 'tasks', model, '--data', data, ...names);
      const [place] = await readdir(out);
      const [samples] = (await readdir(join(out, place))).filter((name) => name.startsWith('samples_'));
      return { json, samples: await readFile(join(out, place, samples), 'utf8') };
    };
    const alone = await answers('off');
    const speculated = await answers('lookup');
    expect(alone.json.tokensGenerated).toBe(120);
    expect(alone.json.generationSteps).toBe(120);
    expect(speculated.samples).toBe(alone.samples);
    expect(speculated.json.generationSteps).toBeLessThan(100);
  });

  it('goes on where it was stopped, and then has the same numbers', async () => {
    const options = ['--tasks', 'piqa', '--shots', '0'];
    const whole = await runJson('eval', 'tasks', model, '--data', data, ...options);
    const out = join(folder, 'resumed');
    const controller = new AbortController();
    controller.abort();
    const stopped = await runCaptured(['eval', 'tasks', model, '--data', data, ...options, '--out', out, '--json'], {
      signal: controller.signal,
    });
    expect(stopped.exitCode).toBe(130);
    const { openJournal } = await import('../../src/evaluation/tasks/journal.ts');
    const path = join(folder, 'journal.jsonl');
    const journal = await openJournal(path);
    journal.add([
      { key: 'a', responses: ['text'] },
      { key: 'b', responses: [{ logLikelihood: -1.5, isGreedy: true }] },
    ]);
    await truncate(path, (await readFile(path)).length - 5);
    const reopened = await openJournal(path);
    expect(reopened.get('a', 1)).toEqual(['text']);
    expect(reopened.get('b', 1)).toBeUndefined();
    reopened.add([{ key: 'b', responses: [{ logLikelihood: -1.5, isGreedy: true }] }]);
    expect((await openJournal(path)).get('b', 1)).toEqual([{ logLikelihood: -1.5, isGreedy: true }]);
    const resumed = await runJson('eval', 'tasks', model, '--data', data, ...options, '--out', out);
    expect(resumed.results).toEqual(whole.results);
  });

  it('with --alone reads more and says the same', async () => {
    const options = ['--tasks', 'piqa', '--shots', '1', '--limit', '4'];
    const together = await runJson('eval', 'tasks', model, '--data', data, ...options);
    const alone = await runJson('eval', 'tasks', model, '--data', data, ...options, '--alone');
    expect(alone.results).toEqual(together.results);
    expect(Number(alone.tokensRead)).toBe(Number(together.tokensRead) + Number(together.tokensReused));
  });

  it('writes requests without a model', async () => {
    const file = join(folder, 'requests.jsonl');
    const options = ['--data', data, '--tasks', 'piqa', '--limit', '0.25', '--write-requests', file];
    expect(await runJson('eval', 'tasks', join(folder, 'no-model'), ...options)).toMatchObject({ requests: 6 });
    const [first] = (await readFile(file, 'utf8')).split('\n');
    expect(JSON.parse(first)).toEqual({
      ...{ task: 'piqa', doc_id: 0, type: 'loglikelihood' },
      context: 'Question: How do you carry 1 apples?\nAnswer:',
      continuation: ' In a basket.',
    });
  });

  it('says what is wrong with names, files and rows', async () => {
    const refusal = async (...words: string[]) => errorOf(await run('--json', ...words));
    const unknown = await refusal('--tasks', 'pika');
    expect(unknown.code).toBe('INPUT');
    expect(unknown.message).toContain('piqa');
    const missing = await refusal('--tasks', 'copa');
    expect(missing.code).toBe('NOT_FOUND');
    expect(missing.message).toContain('copa/validation.jsonl');
    const broken: [string, RegExp][] = [
      [lines([{ goal: 'a', sol1: 'b', label: 0 }]), /validation\.jsonl:1 has no column "sol2"/],
      [lines([rows[0], { ...rows[1], label: 7 }]), /validation\.jsonl:2: the answer is "7"/],
      [lines([{ ...rows[0], label: -1 }]), /validation\.jsonl:1: column "label" is -1/],
      [`${lines([rows[0]])}\n${lines([rows[1]])}`, /validation\.jsonl:2 is an empty line/],
      [`${lines([rows[0]])}{"goal": `, /validation\.jsonl:2 is not valid JSON/],
      [`"${'x'.repeat(10 << 20)}"`, /validation\.jsonl:1: the line is longer/],
      ['', /has no rows/],
    ];
    for (const [index, [content, message]] of broken.entries()) {
      const place = join(folder, `broken-${index}`);
      await mkdir(join(place, 'piqa'), { recursive: true });
      await writeFile(join(place, 'piqa', 'validation.jsonl'), content);
      const error = errorOf(await linnet('eval', 'tasks', model, '--tasks', 'piqa', '--data', place, '--json'));
      expect(error.code).toBe('FORMAT');
      expect(error.message).toMatch(message);
    }
  });

  const parquet = thirdParty('evaluation/tasks/parquet');
  it.skipIf(parquet === undefined)(
    'reads Parquet, and refuses half of a file (needs the third-party fixtures)',
    async () => {
      const bytes = await readFile(join(parquet ?? '', 'piqa_validation_snappy.parquet'));
      const place = join(folder, 'parquet', 'baber__piqa', 'data');
      await mkdir(place, { recursive: true });
      const file = join(place, 'validation-00000-of-00001.parquet');
      await writeFile(file, bytes);
      const requests = join(folder, 'parquet.jsonl');
      const words = [
        '--tasks',
        'piqa',
        '--data',
        join(folder, 'parquet'),
        '--write-requests',
        requests,
        '--limit',
        'all',
      ];
      expect(await runJson('eval', 'tasks', model, ...words)).toMatchObject({ requests: 300 });
      const fromJson = join(folder, 'json.jsonl');
      const other = thirdParty('evaluation/tasks') ?? '';
      await runJson('eval', 'tasks', model, '--tasks', 'piqa', '--data', other, '--write-requests', fromJson);
      expect(await readFile(requests, 'utf8')).toBe(await readFile(fromJson, 'utf8'));
      await truncate(file, Math.floor(bytes.length / 2));
      const error = errorOf(await linnet('eval', 'tasks', model, ...words, '--json'));
      expect(error.code).toBe('FORMAT');
      expect(error.message).toContain('not a whole Parquet file');
    },
  );
});

it('linnet eval rouge scores pairs of texts', async () => {
  const [predictions, references] = ['predictions.txt', 'references.jsonl'].map((name) => join(folder, name));
  await writeFile(predictions, 'testing two\nthe cat sat\n');
  await writeFile(references, lines([{ text: 'testing one two' }, { text: 'the cat sat' }]));
  const json = await runJson('eval', 'rouge', '--predictions', predictions, '--references', references);
  expect(json).toMatchObject({ texts: 2, rougeL: { precision: 1, recall: (2 / 3 + 1) / 2 } });
  await writeFile(references, '"one"\n');
  const short = await linnet('eval', 'rouge', '--predictions', predictions, '--references', references, '--json');
  expect(errorOf(short).code).toBe('INPUT');
});
