/** Documents as tokens: training rows and evaluation windows. `preparePrompt` does prompts. */
import { type TextEncoding, textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** A document's tokens, preceded by the control tokens that the tokenizer's files ask for unless `bos` is false. */
export function documentTokens(tokenizer: Tokenizer, text: string, bos?: TextEncoding['bos']): Int32Array {
  return Int32Array.from(textTokens(tokenizer, text, { bos }));
}
