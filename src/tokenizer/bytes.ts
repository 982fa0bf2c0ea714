/** The tokenizer without training: one token a byte. Token id = byte, then BOS (256) and EOS (257). */
import { byteCharacters, byteLevelFiles, defaultSpecialTokens, type TokenizerFiles } from './byte-level.ts';
import { checkTokenId } from './token-id.ts';
import type { EncodeOptions, Tokenizer } from './tokenizer.ts';

const bosId = 256;
const eosId = 257;

class ByteTokenizer implements Tokenizer {
  readonly vocabularySize = 258;
  readonly bosId = bosId;
  readonly eosId = eosId;
  readonly specialIds: ReadonlySet<number> = new Set([bosId, eosId]);

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const bytes = new TextEncoder().encode(text);
    const offset = options.bos === true ? 1 : 0;
    const ids = new Int32Array(offset + bytes.length);
    if (offset === 1) ids[0] = bosId;
    ids.set(bytes, offset);
    return ids;
  }

  decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      checkTokenId(id);
      if (id < 256) bytes.push(id);
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  bytesOf(id: number): Uint8Array | undefined {
    return id < 256 ? Uint8Array.of(id) : undefined;
  }
}

/** A byte tokenizer. */
export function byteTokenizer(): Tokenizer {
  return new ByteTokenizer();
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
