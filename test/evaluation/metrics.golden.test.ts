/** Metrics, errors, random numbers, stems and ROUGE against the numbers that the published implementations give. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { golden, thirdParty } from '../fixtures.ts';
import { PythonRandom } from '../../src/evaluation/tasks/random/python-random.ts';
import { rouge, rougeKinds, rougeTokens } from '../../src/evaluation/tasks/rouge/rouge.ts';
import { porterStem } from '../../src/evaluation/tasks/rouge/stemmer.ts';
import { classQuality, f1Of, matthews } from '../../src/evaluation/tasks/metrics/quality.ts';
import { exactMatch } from '../../src/evaluation/tasks/metrics/exact-match.ts';
import { bootstrapError, groupMean, pearson, spearman } from '../../src/evaluation/tasks/metrics/statistics.ts';
import { average, meanError } from '../../src/report/statistics.ts';

function items<T extends z.ZodType>(file: string, schema: T): z.output<T>[] {
  const path = file.startsWith('/') ? file : `${golden('evaluation')}/${file}`;
  return z.object({ items: z.array(schema) }).parse(JSON.parse(readFileSync(path, 'utf8'))).items;
}

/** Relative, as sums are taken in other orders. */
function expectClose(value: number, expected: number): void {
  if (Number.isNaN(expected)) expect(value).toBeNaN();
  else expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-9 * Math.max(1e-3, Math.abs(expected)));
}

/** `shuffle(list(range(n)))`. */
function shuffled(n: number, random: PythonRandom): number[] {
  const items = Array.from({ length: n }, (_, index) => index);
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

const number = z.union([z.number(), z.literal('NaN').transform(() => Number.NaN)]);
const pairs = z.array(z.tuple([z.number(), z.number()]));

describe('random numbers of Python', () => {
  const draws = items(
    'python_random.json',
    z.object({
      kind: z.string(),
      seed: z.number(),
      n: z.number().default(0),
      k: z.number().default(0),
      result: z.json(),
    }),
  );
  const kinds: Record<string, (random: PythonRandom, n: number, k: number) => unknown> = {
    'Random(seed).choices(range(n),k=n)': (random, n) => Array.from({ length: n }, () => random.choiceIndex(n)),
    'Random(seed).shuffle(list(range(12)))': (random) => shuffled(12, random),
    'ten Random(seed).getrandbits(32)': (random) => Array.from({ length: 10 }, () => random.nextUint32()),
    'ten Random(seed).random()': (random) => Array.from({ length: 10 }, () => random.random()),
    'ten Random(seed).randrange(n)': (random, n) => Array.from({ length: 10 }, () => random.below(n)),
    'three successive Random(seed).sample(range(n),k)': (random, n, k) =>
      Array.from({ length: 3 }, () => random.sampleIndices(n, k)),
  };
  it.each(draws)('$kind, seed $seed, n $n, k $k', ({ kind, seed, n, k, result }) => {
    expect(kinds[kind](new PythonRandom(seed), n, k)).toEqual(result);
  });

  it('draws what the design quotes', () => {
    const random = new PythonRandom(1234);
    expect([random.nextUint32(), random.nextUint32(), random.nextUint32()]).toEqual([
      4150886329, 3342196574, 1892932127,
    ]);
    expect(new PythonRandom(1234).sampleIndices(16113, 6)).toEqual([15834, 12749, 7220, 1914, 122, 1485]);
    expect(new PythonRandom(1234).sampleIndices(1119, 25).slice(0, 4)).toEqual([902, 239, 15, 185]);
    expect(new PythonRandom(-1234).nextUint32()).toBe(4150886329);
  });
});

describe('aggregates', () => {
  const schema = z.object({
    fn: z.string(),
    items: z.array(z.union([z.number(), z.tuple([z.number(), z.number()])])).default([]),
    value: number.optional(),
    // A text says that there is none.
    stderr: z.union([z.number(), z.string()]).optional(),
    metrics: z.array(z.number()).default([]),
    stderrs: z.array(z.number()).default([]),
    sizes: z.array(z.number()).default([]),
    aggregate_weighted: z.number().optional(),
    aggregate_unweighted: z.number().optional(),
    pooled_sample_stderr: z.number().optional(),
    bootstrap_stderr_iters_100: z.number().optional(),
    bootstrap_stderr_iters_2000: z.number().optional(),
    bootstrap_stderr_iters_3000: z.number().optional(),
  });
  const all = items('aggregation_functions.json', schema);
  const sides = (data: readonly (number | [number, number])[]): [number[], number[]] => {
    const both = pairs.parse(data);
    return [both.map(([first]) => first), both.map(([, second]) => second)];
  };
  const numbers = (data: readonly unknown[]): number[] => z.array(z.number()).parse(data);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const functions: Record<string, (data: readonly (number | [number, number])[]) => number> = {
    mean: (data) => average(numbers(data)),
    perplexity: (data) => Math.exp(-average(numbers(data))),
    matthews_corrcoef: (data) => matthews(...sides(data)),
    f1: (data) => f1Of(...sides(data)),
    weighted_perplexity: (data) => Math.exp(-sum(sides(data)[0]) / sum(sides(data)[1])),
    bits_per_byte: (data) => -sum(sides(data)[0]) / sum(sides(data)[1]) / Math.LN2,
  };
  const single = all.filter(({ fn }) => fn !== 'group');

  it.each(single)('$fn', ({ fn, items: data, value, stderr, ...errors }) => {
    expectClose(functions[fn](data), value ?? Number.NaN);
    if (typeof stderr === 'number') expectClose(meanError(numbers(data)), stderr);
    const resampled = (iterations: number): number =>
      bootstrapError(data.length, (indices) => functions[fn](Array.from(indices, (index) => data[index])), iterations);
    for (const iterations of [100, 2000, 3000] as const) {
      const expected = errors[`bootstrap_stderr_iters_${iterations}`];
      if (expected !== undefined) expectClose(resampled(iterations), expected);
    }
  });

  it('groups weight tasks by size or equally', () => {
    const [group] = all.filter(({ fn }) => fn === 'group');
    const parts = group.metrics.map((value, i) => ({ value, error: group.stderrs[i], size: group.sizes[i] }));
    expectClose(groupMean(parts).value, group.aggregate_weighted ?? Number.NaN);
    expectClose(groupMean(parts).error ?? Number.NaN, group.pooled_sample_stderr ?? Number.NaN);
    expectClose(groupMean(parts, { bySize: false }).value, group.aggregate_unweighted ?? Number.NaN);
  });
});

describe('classification', () => {
  const schema = z.object({
    name: z.string(),
    gold: z.array(z.number()),
    pred: z.array(z.number()),
    matthews: z.number(),
    f1_binary_pos1: z.number().optional(),
    f1_macro: z.number(),
    accuracy: z.number(),
  });
  it.each(items('glue_classification_metrics.json', schema))('$name', (expected) => {
    const { gold, pred } = expected;
    expectClose(matthews(gold, pred), expected.matthews);
    const labels = Array.from({ length: 1 + Math.max(...gold, ...pred) }, String);
    const quality = classQuality(labels, gold, pred);
    expectClose(quality.accuracy, expected.accuracy);
    expectClose(quality.f1Macro, expected.f1_macro);
    if (expected.f1_binary_pos1 !== undefined) expectClose(f1Of(gold, pred), expected.f1_binary_pos1);
  });
});

const correlations = z.object({
  name: z.string(),
  x: z.array(z.number()),
  y: z.array(z.number()),
  pearson: z.union([number, z.json()]),
  spearman: z.union([number, z.json()]),
});

it.each(items('correlation_metrics.json', correlations))('correlations: $name', (item) => {
  if (typeof item.pearson === 'number') expectClose(pearson(item.x, item.y), item.pearson);
  if (typeof item.spearman === 'number') expectClose(spearman(item.x, item.y), item.spearman);
});

const matches = z.object({
  prediction: z.string(),
  reference: z.string(),
  options: z.object({
    regexes_to_ignore: z.array(z.string()).optional(),
    ignore_case: z.boolean().optional(),
    ignore_punctuation: z.boolean().optional(),
    ignore_numbers: z.boolean().optional(),
  }),
  exact_match: z.number(),
});

it.each(items('exact_match.json', matches))('exact match: $prediction, $reference', (item) => {
  const matched = exactMatch(item.prediction, item.reference, item.options);
  expect(Number(matched)).toBe(item.exact_match);
});

it('stems as NLTK does', () => {
  const words = items('porter_stemmer.json', z.object({ word: z.string(), stem: z.string() }));
  expect(words.map(({ word }) => `${word} ${porterStem(word)}`)).toEqual(
    words.map(({ word, stem }) => `${word} ${stem}`),
  );
});

describe('ROUGE', () => {
  const score = z.object({ precision: z.number(), recall: z.number(), fmeasure: z.number() });
  const scores = z.object({ rouge1: score, rouge2: score, rougeL: score, rougeLsum: score });
  const schema = z.object({
    reference: z.string(),
    prediction: z.string(),
    no_stemmer: scores,
    stemmer: scores,
    tokens_reference_no_stemmer: z.array(z.string()),
    tokens_reference_stemmer: z.array(z.string()),
  });
  const expectScores = (item: z.output<typeof schema>): void => {
    expect(rougeTokens(item.reference)).toEqual(item.tokens_reference_no_stemmer);
    expect(rougeTokens(item.reference, { stemmer: true })).toEqual(item.tokens_reference_stemmer);
    for (const [stemmer, expected] of [[false, item.no_stemmer] as const, [true, item.stemmer] as const]) {
      for (const kind of rougeKinds) {
        const given = rouge(kind, item.reference, item.prediction, { stemmer });
        expectClose(given.precision, expected[kind].precision);
        expectClose(given.recall, expected[kind].recall);
        expectClose(given.fmeasure, expected[kind].fmeasure);
      }
    }
  };
  it.each(items('rouge.json', schema))('$reference', expectScores);

  const fixture = thirdParty('evaluation/golden/rouge.json');
  it.skipIf(fixture === undefined)('of news articles (needs the third-party fixtures)', () => {
    const news = items(fixture ?? '', schema);
    expect(news.length).toBeGreaterThan(10);
    news.forEach(expectScores);
  });
});
