/** The metrics of tasks: the value of one answer, and how the values of a task become one number. */
import type { Score } from '../../../engine/scoring/scorer.ts';
import { rouge, type RougeKind } from '../rouge/rouge.ts';
import { codePoints, splitAtSpace, utf8Bytes, words } from '../../../tokenizer/python-text.ts';
import { f1Of, matthews } from './classification.ts';
import { exactMatch, type ExactMatchOptions } from './exact-match.ts';
import { average } from './statistics.ts';
import { argmax } from '../../../graph/largest.ts';

/** A model's answer to one question, with the right one. */
export type Answer =
  | {
      readonly kind: 'multiple_choice';
      readonly scores: readonly Score[];
      readonly choices: readonly string[];
      readonly gold: number;
    }
  | { readonly kind: 'loglikelihood'; readonly score: Score }
  | { readonly kind: 'loglikelihood_rolling'; readonly logLikelihood: number; readonly original: string }
  | { readonly kind: 'generate_until'; readonly text: string; readonly target: string };

type AnswerOf<K extends Answer['kind']> = Extract<Answer, { kind: K }>;

/** A metric's value of one answer: a number, or a pair where the metric is defined only over the set. */
export type AnswerValue = number | readonly [number, number];

export interface TaskMetric {
  readonly higherIsBetter: boolean;
  /** Undefined for answers of a kind that the metric does not judge. */
  measure(answer: Answer, options: ExactMatchOptions): AnswerValue | undefined;
  aggregate(values: readonly AnswerValue[]): number;
  readonly error: 'mean' | 'bootstrap' | 'none';
}

type Measures = { readonly [K in Answer['kind']]?: (answer: AnswerOf<K>, options: ExactMatchOptions) => AnswerValue };

function measureBy(measures: Measures): TaskMetric['measure'] {
  return (answer, options) => {
    switch (answer.kind) {
      case 'multiple_choice':
        return measures.multiple_choice?.(answer, options);
      case 'loglikelihood':
        return measures.loglikelihood?.(answer, options);
      case 'loglikelihood_rolling':
        return measures.loglikelihood_rolling?.(answer, options);
      case 'generate_until':
        return measures.generate_until?.(answer, options);
    }
  };
}

function meanMetric(measures: Measures, higherIsBetter = true): TaskMetric {
  const aggregate = (values: readonly AnswerValue[]): number => average(values.map(numberOfAnswer));
  return { higherIsBetter, measure: measureBy(measures), aggregate, error: 'mean' };
}

function setMetric(measures: Measures, quantity: (gold: number[], predicted: number[]) => number): TaskMetric {
  const aggregate = (values: readonly AnswerValue[]): number =>
    quantity(
      values.map((value) => pair(value)[0]),
      values.map((value) => pair(value)[1]),
    );
  return { higherIsBetter: true, measure: measureBy(measures), aggregate, error: 'bootstrap' };
}

/** Σ log p per unit of a text. */
function rollingMetric(unitsOf: (text: string) => number, quantity: (perUnit: number) => number): TaskMetric {
  return {
    higherIsBetter: false,
    measure: measureBy({
      loglikelihood_rolling: ({ logLikelihood, original }) => [logLikelihood, unitsOf(original)],
    }),
    aggregate(values) {
      let logLikelihood = 0;
      let units = 0;
      for (const value of values) {
        logLikelihood += pair(value)[0];
        units += pair(value)[1];
      }
      return quantity(logLikelihood / units);
    },
    error: 'none',
  };
}

/** Index of the most probable choice, the first among equals. @param lengthOf divisor of each log p */
function best(
  { scores, choices }: AnswerOf<'multiple_choice'>,
  lengthOf: (choice: string) => number = () => 1,
): number {
  return argmax(scores.map(({ logLikelihood }, i) => logLikelihood / lengthOf(choices[i])));
}

function rougeMetric(kind: RougeKind): TaskMetric {
  return meanMetric({
    generate_until: ({ text, target }) => rouge(kind, target, text, { stemmer: true }).fmeasure,
  });
}

const wordCount = (text: string): number => splitAtSpace(text).length;
const goldAndBest: Measures = { multiple_choice: (answer) => [answer.gold, best(answer)] };

export const metricNames = [
  'acc',
  'acc_norm',
  'acc_bytes',
  'f1',
  'mcc',
  'perplexity',
  'word_perplexity',
  'byte_perplexity',
  'bits_per_byte',
  'exact_match',
  'prefix_match',
  'contains',
  'rouge1',
  'rouge2',
  'rougeL',
  'rougeLsum',
  'summary_length',
] as const;
export type MetricName = (typeof metricNames)[number];

export function isMetricName(name: string): name is MetricName {
  const known: readonly string[] = metricNames;
  return known.includes(name);
}

export const metrics: Readonly<Record<MetricName, TaskMetric>> = {
  acc: meanMetric({
    multiple_choice: (answer) => Number(best(answer) === answer.gold),
    loglikelihood: ({ score }) => Number(score.isGreedy),
  }),
  // The length of a choice is its number of characters, without the delimiter in front of it.
  acc_norm: meanMetric({ multiple_choice: (answer) => Number(best(answer, codePoints) === answer.gold) }),
  acc_bytes: meanMetric({ multiple_choice: (answer) => Number(best(answer, utf8Bytes) === answer.gold) }),
  f1: setMetric(goldAndBest, (gold, predicted) => f1Of(gold, predicted)),
  mcc: setMetric(goldAndBest, matthews),
  // Per answer, not per token.
  perplexity: {
    higherIsBetter: false,
    measure: measureBy({ loglikelihood: ({ score }) => score.logLikelihood }),
    aggregate: (values) => Math.exp(-average(values.map(numberOfAnswer))),
    error: 'bootstrap',
  },
  word_perplexity: rollingMetric(wordCount, (value) => Math.exp(-value)),
  byte_perplexity: rollingMetric(utf8Bytes, (value) => Math.exp(-value)),
  bits_per_byte: rollingMetric(utf8Bytes, (value) => -value / Math.LN2),
  exact_match: meanMetric({
    generate_until: ({ text, target }, options) => Number(exactMatch(text, target, options)),
  }),
  prefix_match: meanMetric({
    generate_until: ({ text, target }) => Number(text.trim().startsWith(target.trim())),
  }),
  contains: meanMetric({
    generate_until: ({ text, target }) => Number(text.toLowerCase().includes(target.toLowerCase())),
  }),
  rouge1: rougeMetric('rouge1'),
  rouge2: rougeMetric('rouge2'),
  rougeL: rougeMetric('rougeL'),
  rougeLsum: rougeMetric('rougeLsum'),
  summary_length: meanMetric({ generate_until: ({ text }) => words(text).length }, false),
};

export function numberOfAnswer(value: AnswerValue): number {
  return typeof value === 'number' ? value : value[0];
}

function pair(value: AnswerValue): readonly [number, number] {
  return typeof value === 'number' ? [value, 1] : value;
}
