/** From texts to tokens: where a context ends and its continuation begins, and windows over long texts. */
import { LinnetError } from '../../errors.ts';
import { textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { trailingSpace } from '../../tokenizer/python-text.ts';
import type { ScoreRequest } from './scorer.ts';

/** Tokens; the last `scored` are predicted, each from all before it. One more token precedes them. */
export interface TokenSequence {
  readonly tokens: readonly number[];
  readonly scored: number;
}

export interface SequenceOptions {
  /** Whether texts begin with BOS. */
  readonly bos: 'auto' | boolean;
  /** Most tokens the model reads at once; longer contexts lose their beginning. */
  readonly maxLength: number;
}

/**
 * A context's and its continuation's tokens. White space at the context's end goes to the continuation; then both are encoded
 * together, and the tokens after the context's own are the continuation.
 *
 * @throws LinnetError `INPUT` if the continuation has no token, or more than the model reads
 */
export function scoredSequence(
  tokenizer: Tokenizer,
  { context, continuation }: ScoreRequest,
  { bos, maxLength }: SequenceOptions,
): TokenSequence {
  const space = trailingSpace(context);
  const start = context.slice(0, context.length - space.length);
  const end = space + continuation;
  const before = start === '' ? [prefixToken(tokenizer)] : textTokens(tokenizer, start, { bos });
  // The context keeps its own tokens, even if the last one would differ in the whole text.
  const own =
    start === ''
      ? textTokens(tokenizer, end, { bos: false })
      : textTokens(tokenizer, start + end, { bos }).slice(before.length);
  const scored = own.length;
  if (scored < 1) {
    const shown = JSON.stringify(continuation.slice(0, 40));
    throw new LinnetError('INPUT', `the continuation ${shown} has no token of its own after its context`);
  }
  if (scored > maxLength) {
    throw new LinnetError('INPUT', `a continuation has ${scored} tokens; the model reads ${maxLength} at once`);
  }
  return { tokens: [...before, ...own].slice(-(maxLength + 1)), scored };
}

/**
 * The token before a text's first: BOS, else EOS.
 * @throws LinnetError `INPUT` if the tokenizer has neither
 */
export function prefixToken({ bosId, eosId }: Tokenizer): number {
  const token = bosId ?? eosId;
  if (token !== undefined) return token;
  throw new LinnetError(
    'INPUT',
    'a text without a context needs a token to begin after; the tokenizer has no BOS or EOS',
  );
}

/**
 * Windows over a text's tokens that predict each once. The first token is predicted after the prefix token; the windows predict
 * disjoint ranges, and only the last one is filled with context on its left.
 *
 * @param maxLength tokens per window
 */
export function rollingWindows(tokens: readonly number[], prefix: number, maxLength: number): TokenSequence[] {
  const windows: TokenSequence[] = [];
  const first = Math.min(maxLength, tokens.length);
  if (first > 0) windows.push({ tokens: [prefix, ...tokens.slice(0, first)], scored: first });
  for (let predicted = first; predicted < tokens.length; ) {
    const scored = Math.min(tokens.length - predicted, maxLength);
    const end = predicted + scored;
    windows.push({ tokens: tokens.slice(Math.max(0, end - maxLength - 1), end), scored });
    predicted = end;
  }
  return windows;
}

/** The answer up to the first stop string, applied one after the other. */
export function cutAtStops(text: string, until: readonly string[]): string {
  return until.reduce((rest, stop) => (stop === '' ? rest : rest.split(stop, 1)[0]), text);
}
