/** Prompts, examples, metrics and sums against those of lm-evaluation-harness, over the same rows. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { type Response, summarizeJudgements, judge, groupSummary } from '../../src/evaluation/tasks/judging.ts';
import { selectTasks } from '../../src/evaluation/tasks/registry.ts';
import { type Question, readQuestions, type TaskRequest } from '../../src/evaluation/tasks/requests.ts';
import { utf8Bytes } from '../../src/tokenizer/python-text.ts';

const folder = thirdParty('evaluation');
const data = join(folder ?? '', 'tasks');
const goldenFile = (name: string): string => join(folder ?? '', 'golden', `${name}.json`);

const docSchema = z.object({
  doc_id: z.number(),
  fewshot_rows: z.array(z.number()).default([]),
  request_type: z.string(),
  context: z.string().optional(),
  text: z.string().optional(),
  continuations: z.array(z.string()).default([]),
  gen_kwargs: z.record(z.string(), z.json()).optional(),
  gold_index: z.number().optional(),
  responses: z.array(z.json()),
  by_filter: z.record(z.string(), z.object({ filtered: z.array(z.json()), metrics: z.record(z.string(), z.json()) })),
});
const aggregateSchema = z.record(z.string(), z.json());
const variantSchema = z.object({
  num_fewshot_requested: z.number().nullable().optional(),
  num_fewshot_effective: z.number(),
  docs: z.array(docSchema),
  aggregate_over_all_docs: aggregateSchema,
});
const taskFile = z.object({ variants: z.array(variantSchema) });
const groupFile = z.object({
  num_fewshot_requested: z.number().nullable(),
  groups: z.record(z.string(), aggregateSchema).default({}),
  tasks: z.record(z.string(), variantSchema),
});
type Variant = z.output<typeof variantSchema>;

const salt = 'linnet-A';

function hash(...parts: readonly string[]): Buffer {
  return createHash('sha256')
    .update([salt, ...parts].join('\u0001'), 'utf8')
    .digest();
}

const share = (bytes: Buffer): number => bytes.readUIntBE(0, 6) / 2 ** 48;

/** What the stand-in for a model of the golden numbers answers. */
function fakeResponse(request: TaskRequest, question: Question, task: string): Response {
  if (request.type === 'loglikelihood') {
    const bytes = hash(request.context, request.continuation);
    const logLikelihood = -0.25 * (1 + utf8Bytes(request.continuation)) * (0.5 + share(bytes));
    return { logLikelihood, isGreedy: bytes[6] % 4 === 0 };
  }
  if (request.type === 'loglikelihood_rolling') {
    return { logLikelihood: -utf8Bytes(request.text) * (0.9 + 0.4 * share(hash(request.text))), isGreedy: false };
  }
  const k = hash(request.context)[0];
  return task.startsWith('cnn') ? fakeSummary(k, question) : fakeAnswer(k, question.target);
}

function fakeAnswer(k: number, T: string): string {
  return [
    ` Let's see. So the answer is ${T}.`,
    `So the answer is ${T}`,
    `The answer is ${T}.\n\nNext`,
    `I don't know.`,
    `Maybe. the answer is wrong. Wait, so the answer is ${T}.`,
    ` ${T}`,
    `${T}.`,
    '',
    `Let me think.\nThe final answer: ${T}.`,
    T,
    `So the answer is ${T.toUpperCase()}.`,
    `the answer is  ${T} .\nThe answer is no.`,
    `(A) or False or True? so the answer is ${T}, surely. Yes.`,
    `\n${T}\n`,
  ][k % 14];
}

function fakeSummary(k: number, { doc }: Question): string {
  const { article, highlights } = z.object({ article: z.string(), highlights: z.string() }).parse(doc);
  const [text, summary] = [[...article], [...highlights]];
  return [
    article.split(/\s+/).slice(0, 40).join(' '),
    highlights.replaceAll('\n', ' '),
    `${summary.slice(0, Math.floor(summary.length / 2)).join('')} ${text.slice(0, 120).join('')}`,
    '',
    `  ${text.slice(0, 300).join('')}\n\nSummaries running quickly.`,
  ][k % 5];
}

function expectNumbers(given: Readonly<Record<string, unknown>>, expected: z.output<typeof aggregateSchema>): void {
  for (const [key, value] of Object.entries(expected)) {
    if (key.startsWith('bertscore') || key === 'sample_count') continue;
    if (typeof value !== 'number') expect([key, given[key]]).toEqual([key, value]);
    else {
      const number = z.number({ error: `${key} is ${String(given[key])}` }).parse(given[key]);
      expect(Math.abs(number - value), key).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(value)));
    }
  }
}

async function checkVariant(name: string, requested: number | undefined, golden: Variant) {
  const [task] = selectTasks([name]).tasks;
  const { questions, shots } = await readQuestions(data, task, { shots: requested });
  expect(shots).toBe(golden.num_fewshot_effective);
  const judged = questions.map((question) =>
    judge(
      task,
      question,
      question.requests.map((request) => fakeResponse(request, question, name)),
    ),
  );
  for (const doc of golden.docs) {
    const question = questions[doc.doc_id];
    if (doc.fewshot_rows.length > 0) expect(question.shots).toEqual(doc.fewshot_rows);
    expect(question.requests).toHaveLength(Math.max(1, doc.continuations.length));
    question.requests.forEach((request, index) => {
      expect(request.type).toBe(doc.request_type);
      if (request.type === 'loglikelihood_rolling') expect(request.text).toBe(doc.text);
      else expect(request.context).toBe(doc.context);
      if (request.type === 'loglikelihood') expect(request.continuation).toBe(doc.continuations[index]);
      if (request.type === 'generate_until') expect(request.settings).toEqual(doc.gen_kwargs);
    });
    if (doc.gold_index !== undefined) expect(question.gold).toBe(doc.gold_index);
    for (const [filter, { filtered, metrics }] of Object.entries(doc.by_filter)) {
      const own = judged[doc.doc_id].find(({ filter: of }) => of === filter);
      if (question.requests[0].type === 'generate_until') expect(own?.filtered).toEqual(filtered);
      for (const [metric, value] of Object.entries(metrics)) {
        if (!metric.startsWith('bertscore') && typeof value === 'number' && name !== 'wikitext') {
          expect(own?.metrics[metric], `${metric} of ${doc.doc_id}`).toBeCloseTo(value, 9);
        }
      }
    }
  }
  const summary = summarizeJudgements(task, judged, { bootstrapIterations: 2000 });
  expectNumbers(summary.values, golden.aggregate_over_all_docs);
  return summary;
}

const single = [
  ...['piqa', 'hellaswag', 'arc_challenge', 'copa', 'lambada_openai', 'wikitext', 'cnn_dailymail_abisee'],
  ...['linnet_ag_news', 'cola', 'sst2', 'mrpc', 'qqp', 'qnli', 'rte', 'wnli', 'mnli', 'mnli_mismatch'],
];
const grouped = [
  ...['mmlu_0shot', 'mmlu_5shot', 'bbh_cot_fewshot', 'bbh_fewshot', 'bbh_cot_zeroshot', 'bbh_zeroshot'],
  ...['bbh_cot_fewshot_0shot', 'bbh_cot_fewshot_2shot', 'bbh_fewshot_0shot', 'bbh_zeroshot_2shot'],
];

describe.skipIf(folder === undefined)('golden requests (need the third-party fixtures)', () => {
  it.each(single)('%s', async (name) => {
    const { variants } = taskFile.parse(JSON.parse(readFileSync(goldenFile(name), 'utf8')));
    expect(variants.length).toBeGreaterThan(0);
    for (const variant of variants) await checkVariant(name, variant.num_fewshot_requested ?? undefined, variant);
  });

  it.each(grouped)('%s', async (name) => {
    expect(existsSync(goldenFile(name))).toBe(true);
    const file = groupFile.parse(JSON.parse(readFileSync(goldenFile(name), 'utf8')));
    const summaries = new Map<string, Awaited<ReturnType<typeof checkVariant>>>();
    for (const [task, variant] of Object.entries(file.tasks)) {
      summaries.set(task, await checkVariant(task, file.num_fewshot_requested ?? undefined, variant));
    }
    for (const [group, expected] of Object.entries(file.groups)) {
      const [found] = selectTasks([group]).groups.filter(({ name: own }) => own === group);
      expectNumbers(groupSummary(found, summaries)?.values ?? {}, expected);
    }
  });
});
