/** A tokenizer of one letter per token, for any small vocabulary: texts can be compared and cut anywhere. */
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';

const first = 0x4e00;

export const letters: Tokenizer = {
  vocabularySize: 50,
  specialIds: new Set(),
  encode: (text) => Int32Array.from(text, (letter) => letter.charCodeAt(0) - first),
  decode: (ids) => Array.from(ids, (id) => String.fromCharCode(first + id)).join(''),
};
