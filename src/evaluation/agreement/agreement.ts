/**
 * A model's agreement with its original on the original's own text: both read the original's greedy continuations of prompts,
 * and their predictions are compared at every position. Perplexity of given text hides damage that shows when a model writes
 * (GenDistill, arXiv 2603.26556).
 */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { runTogether } from '../../engine/run-together.ts';
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import { LinnetError, requireRunning, type Watched } from '../../errors.ts';
import type { ModelDescription } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { readWindow } from '../perplexity/losses.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import { average } from '../../report/statistics.ts';
import { argmax } from '../../graph/largest.ts';

/** Agreement over one prompt's continuation; index i is its token i. */
export interface TextAgreement {
  /** Whether both models choose the same next token after the original's tokens so far. */
  readonly same: readonly boolean[];
  /** KL from the original's next-token distribution to the other's, in nats. */
  readonly kl: readonly number[];
}

export interface Agreement {
  /** Tokens that the other model, writing greedily, shares with the original before the first difference. */
  readonly greedyLength: number;
  /** Share of equal next tokens. */
  readonly sameNext: number;
  /** Mean KL, in nats. */
  readonly kl: number;
}

/** How to watch and stop work on texts. */
export type AgreementOptions = Watched;

/** Texts written in common steps. */
const textsAtOnce = 16;
/** Mean KL in nats up to which a model counts as the original: rounding weights to float16 costs far less. */
export const harmlessKl = 1e-3;
/** Random sign flips per test. */
const signFlips = 10_000;

/**
 * Picks prompts from windows of text, at random without repetition.
 * @param count takes all windows if there are fewer
 */
export function samplePrompts(windows: readonly ScoredWindow[], count: number, seed = 0): Int32Array[] {
  const random = new Random(seed);
  const left = windows.map(({ tokens }) => tokens);
  const prompts: Int32Array[] = [];
  while (prompts.length < count && left.length > 0) {
    const index = random.integer(left.length);
    prompts.push(left[index]);
    left[index] = left[left.length - 1];
    left.pop();
  }
  return prompts;
}

/**
 * Greedy continuations, each with its prompt in front; EOS does not end them.
 * @param tokens per continuation
 * @throws LinnetError `INPUT` for an empty prompt, `ABORTED` when the signal fires
 */
export async function greedyTexts(
  engine: StepEngine,
  prompts: readonly Int32Array[],
  tokens: number,
  { signal, onProgress }: AgreementOptions = {},
): Promise<ScoredWindow[]> {
  const texts: ScoredWindow[] = [];
  for (let start = 0; start < prompts.length; start += textsAtOnce) {
    const part = prompts.slice(start, start + textsAtOnce);
    const jobs = part.map((prompt) => ({
      prompt: { tokens: [...prompt] },
      maxTokens: tokens,
      sampling: { temperature: 0 },
      ignoreEos: true,
    }));
    const written = await runTogether(engine, jobs, { signal });
    const windows = written.map((text, i) => ({
      tokens: Int32Array.from([...part[i], ...text.tokens]),
      scoredFrom: part[i].length,
    }));
    texts.push(...windows);
    onProgress?.(texts.length, prompts.length);
  }
  return texts;
}

/**
 * Compares two models over texts that the first wrote (`greedyTexts`).
 * @returns in the order of the texts
 * @throws LinnetError `MISMATCH` for vocabularies of different sizes, `ABORTED` when the signal fires between two texts
 */
export async function textAgreement(
  original: StepEngine,
  other: StepEngine,
  texts: readonly ScoredWindow[],
  { signal, onProgress }: AgreementOptions = {},
): Promise<TextAgreement[]> {
  requireSameVocabulary(original.model, other.model);
  const agreements: TextAgreement[] = [];
  for (const text of texts) {
    requireRunning(signal, `after ${agreements.length} of ${texts.length} texts`);
    const expected: Float32Array[] = [];
    await readWindow(original, text, (position, logits) => {
      if (position + 1 >= text.scoredFrom) expected.push(logits.slice());
    });
    const same: boolean[] = [];
    const kl: number[] = [];
    await readWindow(other, text, (position, logits) => {
      if (position + 1 < text.scoredFrom) return;
      const exact = expected[kl.length];
      same.push(argmax(exact) === argmax(logits));
      kl.push(divergence(exact, logits));
    });
    agreements.push({ same, kl });
    onProgress?.(agreements.length, texts.length);
  }
  return agreements;
}

/** @throws LinnetError `MISMATCH` for vocabularies of different sizes: KL compares distributions of the same tokens */
export function requireSameVocabulary(
  original: Pick<ModelDescription, 'sizes'>,
  other: Pick<ModelDescription, 'sizes'>,
): void {
  const [own, theirs] = [original.sizes.vocabulary, other.sizes.vocabulary];
  if (own === theirs) return;
  throw new LinnetError('MISMATCH', `the original has ${own} tokens in its vocabulary, the other model ${theirs}`);
}

/** KL from softmax(exact) to softmax(other), in nats and float64. */
function divergence(exact: Float32Array, other: Float32Array): number {
  const normalizer = logSumExp(exact);
  const shift = logSumExp(other) - normalizer;
  let sum = 0;
  for (let i = 0; i < exact.length; i++) {
    const p = Math.exp(exact[i] - normalizer);
    if (p > 0) sum += p * (exact[i] - other[i] + shift);
  }
  return Math.max(0, sum);
}

/** The means over texts, at all positions or those from `from` to `to`. */
export function meanAgreement(texts: readonly TextAgreement[], from = 0, to = Number.POSITIVE_INFINITY): Agreement {
  let [greedy, same, kl, positions] = [0, 0, 0, 0];
  for (const text of texts) {
    const first = text.same.indexOf(false);
    greedy += first === -1 ? text.same.length : first;
    for (let i = from; i < Math.min(text.kl.length, to + 1); i++) {
      if (text.same[i]) same++;
      kl += text.kl[i];
      positions++;
    }
  }
  return { greedyLength: greedy / texts.length, sameNext: same / positions, kl: kl / positions };
}

/** The means by position, in ranges of doubling length: 0, 1–2, 3–6, … */
export function agreementByPosition(texts: readonly TextAgreement[]) {
  const tokens = Math.max(...texts.map(({ kl }) => kl.length));
  const ranges: { readonly from: number; readonly to: number }[] = [];
  for (let from = 0; from < tokens; from = 2 * from + 1) ranges.push({ from, to: Math.min(tokens, 2 * from + 1) - 1 });
  return ranges.map(({ from, to }) => {
    const { sameNext, kl } = meanAgreement(texts, from, to);
    return { from, to, sameNext, kl };
  });
}

/**
 * Whether `other` is farther from the original than `reference`, over the same texts: a one-sided test of paired differences
 * in mean KL under random signs.
 * @param reference undefined: whether it is farther than `harmlessKl`
 * @returns the probability of so large a difference by chance; 1 for equal distances
 */
export function fartherProbability(
  other: readonly TextAgreement[],
  reference?: readonly TextAgreement[],
  seed = 0,
): number {
  const meanKl = ({ kl }: TextAgreement): number => average(kl);
  const differences = other.map(
    (text, i) => meanKl(text) - (reference === undefined ? harmlessKl : meanKl(reference[i])),
  );
  const observed = differences.reduce((sum, value) => sum + value, 0);
  const random = new Random(seed);
  let asLarge = 0;
  for (let flip = 0; flip < signFlips; flip++) {
    let sum = 0;
    for (const difference of differences) sum += random.integer(2) === 0 ? difference : -difference;
    if (sum >= observed) asLarge++;
  }
  return (1 + asLarge) / (1 + signFlips);
}
