/** The tokenizer that needs no training: one token per byte. Token id = byte, then BOS (256) and EOS (257). */
import { byteCharacters, byteLevelFiles, defaultSpecialTokens, type TokenizerFiles } from './byte-level.ts';
import { checkTokenId, type Tokenizer } from './text-tokens.ts';

const bosId = 256;
const eosId = 257;

/** A byte tokenizer. */
export function byteTokenizer(): Tokenizer {
  return {
    vocabularySize: 258,
    bosId,
    eosId,
    specialIds: new Set([bosId, eosId]),
    encode(text, { bos = false } = {}) {
      const bytes = new TextEncoder().encode(text);
      return bos ? Int32Array.from([bosId, ...bytes]) : Int32Array.from(bytes);
    },
    decode(ids) {
      const bytes = Array.from(ids, checkTokenId).filter((id) => id < 256);
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
    },
    bytesOf: (id) => (id < 256 ? Uint8Array.of(id) : undefined),
  };
}

/** The byte tokenizer in Hugging Face format; `loadTokenizer` and Python read the same ids from it. */
export function byteTokenizerFiles(): TokenizerFiles {
  return byteLevelFiles({
    tokens: [...byteCharacters(), ...defaultSpecialTokens],
    merges: [],
    specialTokens: defaultSpecialTokens,
    split: false,
  });
}
