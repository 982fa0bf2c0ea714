/** Minimum length of texts: tokens that would end one earlier are forbidden. */
import type { TokenConstraint } from '../../decoding/logit-adjustments.ts';

/** Where a text begins, and what may not end it too soon. */
export interface LeastTokens {
  /** Tokens of the continuation before which nothing ends it. */
  readonly count: number;
  /** Length of the prompt. */
  readonly from: number;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
  /** V. */
  readonly vocabulary: number;
}

/** Forbids the end tokens until the text has `count` tokens. */
export function leastTokens({ count, from, ends, vocabulary }: LeastTokens): TokenConstraint {
  const allowed = new Uint8Array(vocabulary).fill(1);
  for (const id of ends) allowed[id] = 0;
  return (text) => (text.length - from < count ? allowed : undefined);
}
