/** Task metrics: the value of one answer, and how a task's values become one number. */
import type { Score } from '../../../engine/scoring/scorer.ts';
import { rouge, type RougeKind } from '../rouge/rouge.ts';
import { codePoints, splitAtSpace, utf8Bytes, words } from '../../../tokenizer/python-text.ts';
import { f1Of, matthews } from './quality.ts';
import { exactMatch, type ExactMatchOptions } from './exact-match.ts';
import { average } from '../../../report/statistics.ts';
import { argmax } from '../../../graph/largest.ts';

/** Kinds of answers to request from a model. */
export const outputTypes = ['multiple_choice', 'loglikelihood', 'loglikelihood_rolling', 'generate_until'] as const;

/** A model's answer to one question, with the right one. */
export interface Answer {
  /** For requests that ask for likelihoods. */
  readonly scores: readonly Score[];
  /** The generated text. */
  readonly text: string;
  readonly choices: readonly string[];
  readonly gold: number;
  /** For a rolling task: the text whose words and bytes are counted. */
  readonly target: string;
}

/** A metric's value for one answer: a number, or a pair if the metric is defined only over the set. */
export type AnswerValue = number | readonly [number, number];

type Measure = (answer: Answer, options: ExactMatchOptions) => AnswerValue;

interface TaskMetric {
  readonly higherIsBetter: boolean;
  /** An answer's value, by the kinds that the metric judges. */
  readonly measures: Readonly<Partial<Record<(typeof outputTypes)[number], Measure>>>;
  readonly aggregate: (values: readonly AnswerValue[]) => number;
  readonly error: 'mean' | 'bootstrap' | 'none';
}

function meanMetric(measures: TaskMetric['measures'], higherIsBetter = true): TaskMetric {
  const aggregate = (values: readonly AnswerValue[]): number => average(values.map(numberOfAnswer));
  return { higherIsBetter, measures, aggregate, error: 'mean' };
}

/** A quantity over a set of pairs of true and predicted class. */
function setMetric(quantity: (gold: number[], predicted: number[]) => number): TaskMetric {
  return {
    higherIsBetter: true,
    measures: { multiple_choice: (answer) => [answer.gold, best(answer)] },
    aggregate: (values) =>
      quantity(
        values.map((value) => pair(value)[0]),
        values.map((value) => pair(value)[1]),
      ),
    error: 'bootstrap',
  };
}

/** Σ log p per unit of text. */
function rollingMetric(unitsOf: (text: string) => number, quantity: (perUnit: number) => number): TaskMetric {
  return {
    higherIsBetter: false,
    measures: {
      loglikelihood_rolling: ({ scores: [{ logLikelihood }], target }) => [logLikelihood, unitsOf(target)],
    },
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
function best({ scores, choices }: Answer, lengthOf: (choice: string) => number = () => 1): number {
  return argmax(scores.map(({ logLikelihood }, i) => logLikelihood / lengthOf(choices[i])));
}

function rougeMetric(kind: RougeKind): TaskMetric {
  return meanMetric({
    generate_until: ({ text, target }) => rouge(kind, target, text, { stemmer: true }).fmeasure,
  });
}

const wordCount = (text: string): number => splitAtSpace(text).length;

/** Per answer, not per token. */
const perplexityOfAnswers: TaskMetric = {
  higherIsBetter: false,
  measures: { loglikelihood: ({ scores: [{ logLikelihood }] }) => logLikelihood },
  aggregate: (values) => Math.exp(-average(values.map(numberOfAnswer))),
  error: 'bootstrap',
};

export const metrics = {
  acc: meanMetric({
    multiple_choice: (answer) => Number(best(answer) === answer.gold),
    loglikelihood: ({ scores: [{ isGreedy }] }) => Number(isGreedy),
  }),
  // A choice's length is its number of characters, without the delimiter before it.
  acc_norm: meanMetric({ multiple_choice: (answer) => Number(best(answer, codePoints) === answer.gold) }),
  acc_bytes: meanMetric({ multiple_choice: (answer) => Number(best(answer, utf8Bytes) === answer.gold) }),
  f1: setMetric(f1Of),
  mcc: setMetric(matthews),
  perplexity: perplexityOfAnswers,
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
} satisfies Readonly<Record<string, TaskMetric>>;

export type MetricName = keyof typeof metrics;

export function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(metrics, name);
}

export function numberOfAnswer(value: AnswerValue): number {
  return typeof value === 'number' ? value : value[0];
}

function pair(value: AnswerValue): readonly [number, number] {
  return typeof value === 'number' ? [value, 1] : value;
}
