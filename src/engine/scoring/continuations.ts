/** Log-likelihoods of continuations of one text. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import { textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { preparePrompt } from '../prompt.ts';
import type { Score } from './scorer.ts';
import { SequenceScorer } from './sequence-scorer.ts';
import { scoredSequence } from './token-sequences.ts';

/** How probable a continuation is. */
export interface ContinuationScore extends Score {
  /** Tokens of the continuation. */
  readonly tokens: number;
}

/**
 * Scores continuations of a text, or texts that an encoder-decoder model writes about it. Context and continuation are
 * encoded together, and white space at the end of the context goes to the continuation (`scoredSequence`).
 * @throws LinnetError `INPUT` for a continuation without a token of its own
 */
export async function scoreContinuations(
  model: { readonly engine: StepEngine; readonly tokenizer: Tokenizer },
  context: string,
  continuations: readonly string[],
): Promise<ContinuationScore[]> {
  const { engine, tokenizer } = model;
  const { tokens, source } = preparePrompt(model, { text: context });
  const start = source && engine.newState(await engine.encode(source));
  const sequences = continuations.map((continuation) => {
    if (start === undefined) {
      return scoredSequence(tokenizer, { context, continuation }, { bos: 'auto', maxLength: Number.POSITIVE_INFINITY });
    }
    const own = textTokens(tokenizer, continuation, { bos: false });
    if (own.length > 0) return { tokens: [...tokens, ...own], scored: own.length };
    throw new LinnetError('INPUT', 'a continuation to score needs at least one token');
  });
  const scores = await new SequenceScorer(engine).score(sequences, {}, start);
  return scores.map((score, index) => ({ ...score, tokens: sequences[index].scored }));
}
