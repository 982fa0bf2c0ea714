/** Documents as tokens: for rows to train on and windows to measure on. Prompts are `preparePrompt`'s. */
import { type TextEncoding, textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** Tokens of a document, with the control tokens that the tokenizer's files put before texts unless `bos` is false. */
export function documentTokens(tokenizer: Tokenizer, text: string, bos?: TextEncoding['bos']): Int32Array {
  return Int32Array.from(textTokens(tokenizer, text, { bos }));
}
