/** Rows of a model's check: one per comparison, with its error and limit. */
import type { MixerConfig } from '../../attention/mixer.ts';
import { float32Error } from '../../attention/mixers.ts';

/**
 * The comparisons. Leak tests measure how much hidden inputs move an output: the future, or in an encoder the padding after a
 * text.
 */
export const checkTests = {
  futurePositions: 'future positions, own parameters',
  futurePositionsRandom: 'future positions, random parameters',
  futureTokens: 'future tokens',
  futureTokensRandom: 'future tokens, random mixer parameters',
  parallel: 'parallel = naive',
  stepByStep: 'step one by one = naive',
  stepInChunks: 'step in chunks = naive',
  tree: 'tree = naive',
  modelSteps: 'step = parallel',
  modelTree: 'tree = parallel',
  wholeText: 'whole text = naive',
  paddedPositions: 'padded = alone, random parameters',
  paddedText: 'padded text = text alone',
  paddedTextRandom: 'padded text = text alone, random mixer parameters',
} as const;

export type CheckTest = (typeof checkTests)[keyof typeof checkTests];

/** One comparison of a check. */
export interface CheckRow {
  /** `layer 3`, `layers 0–4` if they share a mixer, or `model`. */
  readonly subject: string;
  readonly test: CheckTest;
  /** Tokens of the longest sequence compared. */
  readonly length: number;
  /**
   * Largest difference over the largest expected magnitude; for leak tests, the largest movement over the largest output.
   * Null if the test does not apply.
   */
  readonly error: number | null;
  /** The largest difference itself. */
  readonly absolute: number | null;
  /** Largest `error` that passes. */
  readonly limit: number;
  readonly ok: boolean;
  /** For the reader: the movement's position, or why the test does not apply. */
  readonly note?: string;
}

/** Leak tests are named after the inputs that an output must not see. */
export function isLeakTest(test: CheckTest): boolean {
  return test.startsWith('future') || test.startsWith('padded');
}

/**
 * Largest `error` for each kind of test.
 *
 * A past position sees the future only through exact zeros (masks), and is computed in the same order whatever the future
 * holds, so a causal model moves by 0, or by rounding if the engine divides its work differently. 1e-5 of the largest output
 * is far above float32 rounding (6e-8 per operation) and far below a live tap's movement.
 *
 * A mixer's forms add the same terms in different orders and partly as sums over groups, in float32 against the oracle's
 * float64; a whole model passes such differences through all its layers. The same holds for a text alone and next to padding,
 * whose sums are divided differently.
 */
export const limits = { movement: 1e-5, mixer: 5e-5, model: 2e-4 } as const;

/** Largest `error` for a model with these mixers. */
export function modelLimit(mixers: readonly MixerConfig[]): number {
  return mixers.reduce<number>((largest, mixer) => Math.max(largest, float32Error(mixer)), limits.model);
}

/** Collects the largest difference and the largest expected magnitude. Any NaN makes the error NaN. */
export class Discrepancy {
  absolute = 0;
  #peak = 0;

  add(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
    for (let i = 0; i < expected.length; i++) {
      this.absolute = Math.max(this.absolute, Math.abs(actual[i] - expected[i]));
      this.#peak = Math.max(this.#peak, Math.abs(expected[i]));
    }
  }

  /** 0 if nothing differs, even if everything is zero. */
  get relative(): number {
    return this.absolute === 0 ? 0 : this.absolute / this.#peak;
  }
}

/** The row of a comparison that ran. */
export function comparedRow(
  about: Pick<CheckRow, 'subject' | 'test' | 'length' | 'limit' | 'note'>,
  { relative, absolute }: { readonly relative: number; readonly absolute: number },
): CheckRow {
  return { ...about, error: relative, absolute, ok: relative <= about.limit };
}

/** The row of a comparison that does not apply to the mixer, which therefore fails it. */
export function inapplicableRow(about: Pick<CheckRow, 'subject' | 'test' | 'limit'>, note: string): CheckRow {
  return { ...about, length: 0, error: null, absolute: null, ok: false, note };
}
