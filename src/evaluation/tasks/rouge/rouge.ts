/**
 * ROUGE (Lin, 2004: A package for automatic evaluation of summaries) by the rules of the `rouge-score` package, which
 * computes published numbers.
 */
import { sort } from 'd3-array';
import { porterStem } from './stemmer.ts';

/** Overlap between a prediction and a reference; each from 0 to 1. */
export interface RougeScore {
  readonly precision: number;
  readonly recall: number;
  /** The harmonic mean of the two. */
  readonly fmeasure: number;
}

export const rougeKinds = ['rouge1', 'rouge2', 'rougeL', 'rougeLsum'] as const;
export type RougeKind = (typeof rougeKinds)[number];

interface RougeOptions {
  /** Whether to compare stems of words longer than three letters. Default false. */
  readonly stemmer?: boolean;
}

/** Lower-case words: everything but a–z and 0–9 separates. */
export function rougeTokens(text: string, { stemmer = false }: RougeOptions = {}): string[] {
  const tokens = text
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((token) => token !== '');
  return stemmer ? tokens.map((token) => (token.length > 3 ? porterStem(token) : token)) : tokens;
}

type Scoring = (reference: string, prediction: string, options: RougeOptions) => RougeScore;

const kinds: Readonly<Record<RougeKind, Scoring>> = {
  rouge1: (reference, prediction, options) => overlap(reference, prediction, 1, options),
  rouge2: (reference, prediction, options) => overlap(reference, prediction, 2, options),
  rougeL: longestCommon,
  rougeLsum: summaryLevel,
};

/** One kind of ROUGE for a prediction. `rougeLsum` treats each line as a sentence. */
export function rouge(kind: RougeKind, reference: string, prediction: string, options: RougeOptions = {}): RougeScore {
  return kinds[kind](reference, prediction, options);
}

/** ROUGE-N: common n-grams, each counted at most as often as it occurs in both. */
function overlap(reference: string, prediction: string, n: number, options: RougeOptions): RougeScore {
  const wanted = ngrams(rougeTokens(reference, options), n);
  const given = ngrams(rougeTokens(prediction, options), n);
  let shared = 0;
  for (const [gram, count] of wanted) shared += Math.min(count, given.get(gram) ?? 0);
  return score(shared, Math.max(1, total(given)), Math.max(1, total(wanted)));
}

function longestCommon(reference: string, prediction: string, options: RougeOptions): RougeScore {
  const wanted = rougeTokens(reference, options);
  const given = rougeTokens(prediction, options);
  if (wanted.length === 0 || given.length === 0) return nothing;
  return score(lengths(wanted, given)[wanted.length][given.length], given.length, wanted.length);
}

/**
 * ROUGE-Lsum: for every reference sentence, the union of its longest common subsequences with all sentences of the
 * prediction; counts a word at most as often as it occurs in both texts.
 */
function summaryLevel(reference: string, prediction: string, options: RougeOptions): RougeScore {
  const sentences = (text: string): string[][] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => rougeTokens(line, options));
  const wanted = sentences(reference);
  const given = sentences(prediction);
  const wantedWords = wanted.flat();
  const givenWords = given.flat();
  if (wantedWords.length === 0 || givenWords.length === 0) return nothing;
  const wantedLeft = ngrams(wantedWords, 1);
  const givenLeft = ngrams(givenWords, 1);
  let hits = 0;
  for (const sentence of wanted) {
    const union = new Set(given.flatMap((other) => commonIndices(sentence, other)));
    for (const index of sort(union)) {
      const word = sentence[index];
      const left = Math.min(wantedLeft.get(word) ?? 0, givenLeft.get(word) ?? 0);
      if (left === 0) continue;
      hits++;
      wantedLeft.set(word, (wantedLeft.get(word) ?? 0) - 1);
      givenLeft.set(word, (givenLeft.get(word) ?? 0) - 1);
    }
  }
  return score(hits, givenWords.length, wantedWords.length);
}

const nothing: RougeScore = { precision: 0, recall: 0, fmeasure: 0 };

function score(shared: number, given: number, wanted: number): RougeScore {
  const precision = shared / given;
  const recall = shared / wanted;
  const sum = precision + recall;
  return { precision, recall, fmeasure: sum > 0 ? (2 * precision * recall) / sum : 0 };
}

function ngrams(tokens: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + n <= tokens.length; start++) {
    const gram = tokens.slice(start, start + n).join(' ');
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

function total(counts: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const count of counts.values()) sum += count;
  return sum;
}

/** Length of the longest common subsequence of one's first i words and the other's first j, by [i][j]. */
function lengths(first: readonly string[], second: readonly string[]): Int32Array[] {
  const table = Array.from({ length: first.length + 1 }, () => new Int32Array(second.length + 1));
  for (let i = 1; i <= first.length; i++) {
    for (let j = 1; j <= second.length; j++) {
      table[i][j] =
        first[i - 1] === second[j - 1] ? table[i - 1][j - 1] + 1 : Math.max(table[i - 1][j], table[i][j - 1]);
    }
  }
  return table;
}

/** Indices into `first` of one longest common subsequence; among equal ones, the package's choice. */
function commonIndices(first: readonly string[], second: readonly string[]): number[] {
  const table = lengths(first, second);
  const indices: number[] = [];
  let i = first.length;
  let j = second.length;
  while (i > 0 && j > 0) {
    if (first[i - 1] === second[j - 1]) {
      i--;
      j--;
      indices.push(i);
    } else if (table[i][j - 1] > table[i - 1][j]) j--;
    else i--;
  }
  return indices;
}
