/** Documents joined to one text of a given number of tokens. */
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import type { Document } from '../../../data/documents/documents.ts';
import { LinnetError } from '../../../errors.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';

/** The documents one after the other, as one text that begins once. @throws LinnetError `INPUT` if they are too short */
export async function joinedTokens(documents: AsyncIterable<Document>, tokenizer: Tokenizer, length: number) {
  const tokens = new Int32Array(length);
  let filled = 0;
  for await (const { text } of documents) {
    const part = documentTokens(tokenizer, text, filled === 0 ? 'auto' : false);
    tokens.set(part.subarray(0, length - filled), filled);
    filled = Math.min(length, filled + part.length);
    if (filled === length) return tokens;
  }
  throw new LinnetError('INPUT', `the text has ${filled} tokens, ${length} are needed; give more text or read less`);
}
