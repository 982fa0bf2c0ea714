/**
 * Multi-query associative recall (MQAR; Arora et al., "Zoology", arXiv 2312.04927, section 4): a row begins with n key-value
 * pairs, k₁ v₁ … k_n v_n; then each key appears once more, and the model must name its value. Slot g of the second part, two
 * tokens wide, asks with probability ∝ (g + 1)^(a − 1), a = 0.01: most questions come soon, few late. Each row is drawn when
 * read, from the seed, epoch and row number: no row is seen twice.
 */
import { range, sort } from 'd3-array';
import { LinnetError } from '../../errors.ts';
import type { Random } from '../../random.ts';
import { fingerprint } from '../rows/fingerprint.ts';
import { type PackedBatch, packedInputs, type TrainingRow } from './packed-rows.ts';
import { emptyBatch, type RowDataset, type RowVisit } from '../rows/row-dataset.ts';
import { visitRandom } from '../rows/visit-random.ts';

export interface AssociativeRecallOptions {
  /** V, even: keys are 1 … V/2 − 1, values V/2 … V − 1; 0 fills positions that ask nothing. */
  readonly vocabulary: number;
  /** T: tokens per row, even. */
  readonly length: number;
  /** n: pairs per row, and as many questions; 4n ≤ T. */
  readonly pairs: number;
  /** Rows per epoch. */
  readonly rows: number;
  readonly seed: number;
  /** a, which spreads the questions. Default 0.01. */
  readonly power?: number;
}

/** MQAR rows for `causalObjective`: a label counts at a key's second appearance and is its value. */
export class AssociativeRecall implements RowDataset<PackedBatch> {
  readonly rows: number;
  readonly length: number;
  readonly pairs: number;
  readonly #options: Required<AssociativeRecallOptions>;

  /** @throws LinnetError `INPUT` for sizes that do not fit together */
  constructor(options: AssociativeRecallOptions) {
    this.#options = { power: 0.01, ...options };
    const { vocabulary, length, pairs, rows, power } = this.#options;
    const fits =
      [vocabulary, length, pairs, rows].every((size) => Number.isInteger(size) && size >= 1) &&
      length % 2 === 0 &&
      vocabulary % 2 === 0 &&
      4 * pairs <= length &&
      power > 0;
    if (!fits) {
      throw new LinnetError(
        'INPUT',
        `${pairs} pairs in ${length} tokens of a vocabulary of ${vocabulary}, ${rows} rows, power ${power}: ` +
          'expected positive sizes, an even length of at least 4 tokens a pair, an even vocabulary and a positive power',
      );
    }
    if (vocabulary / 2 - 1 < pairs) {
      throw new LinnetError(
        'INPUT',
        `a vocabulary of ${vocabulary} has ${vocabulary / 2 - 1} keys, ${pairs} pairs need as many; enlarge it`,
      );
    }
    this.rows = rows;
    this.length = length;
    this.pairs = pairs;
  }

  get inputs() {
    return packedInputs(this.length);
  }

  batch(visits: readonly RowVisit[]): PackedBatch {
    const batch = emptyBatch(this.inputs, visits.length);
    visits.forEach((visit, place) => {
      const row = this.row(visit);
      batch.inputs.data.set(row.inputs, place * this.length);
      batch.labels.data.set(row.labels, place * this.length);
      batch.weights.data.set(row.weights, place * this.length);
    });
    return batch;
  }

  /** One row, as its own arrays. */
  row(visit: RowVisit): TrainingRow {
    const { vocabulary, length, pairs, seed, power } = this.#options;
    const random = visitRandom(seed, visit);
    const half = vocabulary / 2;
    const keys = distinct(half - 1, pairs, random).map((key) => key + 1);
    const values = distinct(half, pairs, random).map((value) => value + half);
    const inputs = new Int32Array(length);
    const labels = new Int32Array(length);
    const weights = new Float32Array(length);
    keys.forEach((key, pair) => {
      inputs[2 * pair] = key;
      inputs[2 * pair + 1] = values[pair];
    });
    const slots = weightedSlots((length - 2 * pairs) / 2, pairs, power, random);
    slots.forEach((slot, pair) => {
      const place = 2 * pairs + 2 * slot;
      inputs[place] = keys[pair];
      labels[place] = values[pair];
      weights[place] = 1;
      // The answer follows its question, as in text.
      if (place + 1 < length) inputs[place + 1] = values[pair];
    });
    return { inputs, labels, weights };
  }

  fingerprint(): string {
    return fingerprint({ version: 1, task: 'mqar', ...this.#options }, []);
  }
}

/** `count` distinct numbers from 0 … bound − 1, in random order. */
function distinct(bound: number, count: number, random: Random): number[] {
  return random.shuffle(range(bound)).slice(0, count);
}

/**
 * Draws slots without replacement, slot g with weight (g + 1)^(power − 1): the `count` smallest −ln u / weight are such a
 * draw (Efraimidis and Spirakis, 2006).
 */
function weightedSlots(slots: number, count: number, power: number, random: Random): number[] {
  const timeOf = (slot: number): number => -Math.log(1 - random.uniform()) / (slot + 1) ** (power - 1);
  return sort(range(slots), timeOf).slice(0, count);
}
