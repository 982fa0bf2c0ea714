/** Comparing results: paired errors against numbers worked out by hand, and files that are none. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet, runCaptured, runJson } from './captured-cli.ts';

const folder = suiteFolder();
const at = (...names: string[]): string => join(folder, ...names);

/** Results of one task with an answer a question, in a folder of its own. */
async function results(name: string, right: readonly boolean[], change: Record<string, unknown> = {}): Promise<string> {
  await mkdir(at(name), { recursive: true });
  const mean = right.filter(Boolean).length / right.length;
  const content = {
    results: { riddles: { alias: 'riddles', 'acc,none': mean, 'acc_stderr,none': 0.1, sample_len: right.length } },
    higher_is_better: { riddles: { acc: true } },
    model_name: `models/${name}`,
  };
  await writeFile(at(name, 'results_2026-01-02.json'), JSON.stringify(content));
  const lines = right.map((isRight, docId) => ({
    doc_id: docId,
    doc: { question: docId },
    target: 'yes',
    arguments: {
      gen_args_0: { arg_0: `Riddle ${docId} <script>?`, arg_1: ' yes' },
      gen_args_1: { arg_0: `Riddle ${docId} <script>?`, arg_1: ' no' },
    },
    resps: [],
    filtered_resps: [
      [isRight ? '-1' : '-3', 'False'],
      ['-2', 'False'],
    ],
    filter: 'none',
    metrics: ['acc'],
    doc_hash: `d${docId}`,
    prompt_hash: `p${docId}`,
    acc: Number(isRight),
    ...change,
  }));
  await writeFile(
    at(name, 'samples_riddles_2026-01-02.jsonl'),
    lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
  );
  return at(name);
}

const schema = z.object({
  models: z.array(z.object({ model: z.string(), file: z.string().optional() })),
  tasks: z.array(
    z.object({
      task: z.string(),
      metrics: z.array(
        z.object({
          metric: z.string(),
          differences: z.array(
            z
              .object({ value: z.number(), error: z.number(), questions: z.int(), better: z.int(), worse: z.int() })
              .nullable(),
          ),
        }),
      ),
    }),
  ),
});

describe('eval tasks of several models', () => {
  it('pairs questions: the error is that of their differences', async () => {
    const first = await results('first', [true, true, false, false, true]);
    const second = await results('second', [true, false, true, false, false]);
    const run = await runJson('eval', 'tasks', first, second);
    const [{ metrics }] = schema.parse(run).tasks;
    // Differences 0, −1, 1, 0, −1: mean −0.2, sample variance 0.7, over 5 questions.
    expect(metrics.map(({ metric }) => metric)).toEqual(['acc,none']);
    const [difference] = metrics[0].differences;
    expect(difference).toMatchObject({ questions: 5, better: 1, worse: 2 });
    expect(difference?.value).toBeCloseTo(-0.2, 12);
    expect(difference?.error).toBeCloseTo(Math.sqrt(0.7 / 5), 12);
    const { stdout } = await linnet('eval', 'tasks', first, second);
    expect(stdout).toMatch(/second − first/);
    expect(stdout).toMatch(/-0\.2000 ± 0\.3742|−0\.2000 ± 0\.3742/);
  });

  it('refuses other rows, other prompts, a single model and files that are none', async () => {
    const good = await results('good', [true, false]);
    const cases: [string, string, RegExp][] = [
      [await results('rows', [true, false], { doc_hash: 'x' }), 'MISMATCH', /question 0 is another row/],
      [await results('prompts', [true, false], { prompt_hash: 'x' }), 'MISMATCH', /asked with another prompt/],
      [await results('twice', [true, false], { doc_id: 0 }), 'FORMAT', /jsonl:2: question 0 appears twice/],
      [await results('metric', [true, false], { acc: 'yes' }), 'FORMAT', /jsonl:1: metric "acc" is "yes"/],
      [await results('id', [true, false], { doc_id: -1 }), 'FORMAT', /jsonl:1 is not a sample/],
    ];
    for (const [other, code, message] of cases) {
      const error = errorOf(await runCaptured(['eval', 'tasks', good, other, '--json']));
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    }
    const single = errorOf(await runCaptured(['eval', 'tasks', good, '--json']));
    expect(single).toMatchObject({ code: 'INPUT' });
    await mkdir(at('empty'));
    const none = errorOf(await runCaptured(['eval', 'tasks', good, at('empty'), '--json']));
    expect(none.message).toMatch(/--tasks, the tasks to run, and --data/);
    const broken = await results('broken', [true]);
    await writeFile(join(broken, 'results_2026-01-02.json'), '{"results": 3}');
    const format = errorOf(await runCaptured(['eval', 'tasks', good, broken, '--json']));
    expect(format.message).toMatch(/results_2026-01-02.json holds no task results/);
    const long = await results('long', [true]);
    await writeFile(join(long, 'samples_riddles_2026-01-02.jsonl'), `{"doc":"${'x'.repeat(10 << 20)}"}`);
    const line = errorOf(await runCaptured(['eval', 'tasks', good, long, '--json']));
    expect(line.message).toMatch(/jsonl:1: the line is longer than/);
  });
});

describe('of runs of eval tasks', () => {
  beforeAll(async () => {
    await saveTinyModel(at('one'), 1, 'llama');
    await saveTinyModel(at('two'), 2, 'llama');
    await mkdir(at('data', 'riddles'), { recursive: true });
    const rows = Array.from({ length: 12 }, (_, i) => ({
      question: `Is ${i} odd?`,
      options: ['yes', 'no'],
      label: (i + 1) % 2,
    }));
    await writeFile(at('data', 'riddles', 'test.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const task = {
      ...{ task: 'riddles', dataset_path: 'local/riddles', output_type: 'multiple_choice', test_split: 'test' },
      columns: { question: 'text', options: 'texts', label: 'label' },
      ...{ doc_to_text: '{{question}}', doc_to_choice: 'options', doc_to_target: '{{label}}' },
      metric_list: [{ metric: 'acc' }, { metric: 'mcc' }],
    };
    await writeFile(at('riddles.json'), JSON.stringify(task));
  });

  it('reads what they wrote: a folder with a folder for each model, or asks both at once', async () => {
    for (const model of ['one', 'two']) {
      const words = ['--tasks', at('riddles.json'), '--data', at('data'), '--out', at('runs'), '--bootstrap', '100'];
      await runJson('eval', 'tasks', at(model), ...words);
    }
    expect(await readdir(at('runs'))).toHaveLength(2);
    const { tasks, models } = schema.parse(await runJson('eval', 'tasks', at('runs')));
    for (const { file } of models) expect(file).toContain(at('runs'));
    expect(tasks[0].metrics.map(({ metric }) => metric)).toEqual(['acc,none', 'mcc,none']);
    expect(tasks[0].metrics[0].differences[0]?.questions).toBe(12);
    const words = ['--tasks', at('riddles.json'), '--data', at('data'), '--bootstrap', '100'];
    const atOnce = schema.parse(await runJson('eval', 'tasks', at('one'), at('two'), ...words));
    expect(atOnce.tasks).toEqual(tasks);
    expect(atOnce.models.map(({ file }) => file)).toEqual([undefined, undefined]); // those files are gone
    const stored = join(at('runs'), (await readdir(at('runs')))[0]);
    const mixed = schema.parse(await runJson('eval', 'tasks', stored, at('two'), ...words));
    expect(mixed.models.map(({ file }) => file?.startsWith(stored))).toEqual([true, undefined]);
  });
});
