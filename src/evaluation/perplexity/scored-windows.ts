/** Windows for measuring perplexity: stretches of tokens that the model reads at once, and which of them count. */
import type { PackedTexts } from '../../data/datasets/packed-rows.ts';
import { documentTokens } from '../../data/documents/document-tokens.ts';
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** A stretch of tokens that the model reads from position 0. */
export interface ScoredWindow {
  readonly tokens: Int32Array;
  /** Index of the first token whose prediction counts, at least 1: nothing predicts the first token. */
  readonly scoredFrom: number;
  /** Alternatives to the last token, also to be predicted. */
  readonly others?: readonly number[];
  /** The source text, for encoder-decoder models. */
  readonly source?: Int32Array;
}

/** Windows and the number of documents they come from. */
export interface EvaluationData {
  readonly windows: readonly ScoredWindow[];
  /** Documents with at least one scored token. */
  readonly documents: number;
}

/**
 * How a document becomes windows.
 * - `documents`: one window, its first `length` tokens; the rest is not read. For collections of short texts.
 * - `text`: windows of `length` tokens that advance by `stride` to the document's end. For books.
 */
export type WindowMode = 'documents' | 'text';

/** How to cut a long text into windows. */
export interface WindowOptions {
  readonly mode: WindowMode;
  /** Tokens the model reads at once, BOS included; n tokens give n − 1 predictions. */
  readonly length: number;
  /**
   * Mode `text`: tokens between the starts of neighboring windows, from 1 to `length`. Smaller strides give every token more
   * context and take more time. Default: half of `length`.
   */
  readonly stride?: number;
}

/** The mode that suits the files: `documents` if all are JSON Lines, otherwise `text`. */
export function windowModeOf(sources: readonly string[]): WindowMode {
  return sources.every((source) => source.toLowerCase().endsWith('.jsonl')) ? 'documents' : 'text';
}

/**
 * Tokenizes documents, each with the tokens that begin texts, and cuts them into windows. Leaves out documents of fewer than
 * two tokens, which have nothing to predict.
 *
 * @throws LinnetError `INPUT` for an impossible length or stride, or if nothing is left
 * @example
 * ```ts
 * const data = await evaluationData(documents, tokenizer, { mode: 'text', length: 256 });
 * ```
 */
export async function evaluationData(
  documents: PackedTexts,
  tokenizer: Tokenizer,
  options: WindowOptions,
): Promise<EvaluationData> {
  const { mode, length, stride = Math.max(1, Math.floor(length / 2)) } = options;
  checkLengths(length, stride);
  const windows: ScoredWindow[] = [];
  let count = 0;
  let scored = 0;
  for await (const { text } of documents) {
    count++;
    const tokens = documentTokens(tokenizer, text);
    if (tokens.length < 2) continue;
    scored++;
    if (mode === 'documents') windows.push({ tokens: tokens.slice(0, length), scoredFrom: 1 });
    else for (const window of slidingWindows(tokens, length, stride)) windows.push(window);
  }
  if (scored === 0) {
    throw new LinnetError(
      'INPUT',
      `none of the ${count} documents has two tokens or more; there is nothing to predict`,
    );
  }
  return { windows, documents: scored };
}

/**
 * Windows over one text. A window scores the tokens that no earlier window has seen; the others are its context. The first
 * scores all but its first token. (The convention of Hugging Face's guide to perplexity.)
 *
 * With a stride equal to the length, neighbors share nothing, and the first token of every window goes unscored.
 *
 * @throws LinnetError `INPUT` for an impossible length or stride
 * @example
 * ```ts
 * const windows = slidingWindows(tokens, 256, 128);
 * ```
 */
export function slidingWindows(tokens: Int32Array, length: number, stride: number): ScoredWindow[] {
  checkLengths(length, stride);
  const windows: ScoredWindow[] = [];
  let seen = 0;
  for (let start = 0; seen < tokens.length; start += stride) {
    const end = Math.min(start + length, tokens.length);
    const scoredFrom = Math.max(1, seen - start);
    if (scoredFrom < end - start) windows.push({ tokens: tokens.subarray(start, end), scoredFrom });
    seen = end;
  }
  return windows;
}

/** Number of tokens whose prediction counts. */
export function scoredTokens(windows: readonly ScoredWindow[]): number {
  return windows.reduce((total, { tokens, scoredFrom }) => total + tokens.length - scoredFrom, 0);
}

/** @throws LinnetError `MISMATCH` for tokens outside the vocabulary */
export function checkTokens(windows: readonly Pick<ScoredWindow, 'tokens' | 'others'>[], vocabulary: number): void {
  for (const { tokens, others = [] } of windows) {
    for (const token of [...tokens, ...others]) {
      if (token >= 0 && token < vocabulary) continue;
      throw new LinnetError(
        'MISMATCH',
        `token ${token} is outside the model's vocabulary of ${vocabulary}; the tokenizer is of another model`,
      );
    }
  }
}

function checkLengths(length: number, stride: number): void {
  if (!Number.isInteger(length) || length < 2) {
    throw new LinnetError('INPUT', `windows of ${length} tokens are not possible; expected a whole number from 2`);
  }
  if (!Number.isInteger(stride) || stride < 1 || stride > length) {
    throw new LinnetError('INPUT', `a stride of ${stride} does not fit windows of ${length}; expected 1 to ${length}`);
  }
}
