/**
 * GPT-2's byte-level alphabet, and tokenizers written in it. Every byte has a printable character, so JSON can hold a
 * vocabulary of byte strings and no text is unknown.
 */
import { addedToken, bareTokenizer, bytePairModel } from '../checkpoint/tokenizer-json.ts';

/** A tokenizer as the two files that Hugging Face libraries read. */
export interface TokenizerFiles {
  /** Contents of `tokenizer.json`. */
  readonly tokenizerJson: Record<string, unknown>;
  /** Contents of `tokenizer_config.json`. */
  readonly tokenizerConfigJson: Record<string, unknown>;
}

/** The files by name, as text, for `tokenizerFiles` of `saveCheckpoint`. */
export function tokenizerFileContents(files: TokenizerFiles): ReadonlyMap<string, string> {
  return new Map([
    ['tokenizer.json', `${JSON.stringify(files.tokenizerJson)}\n`],
    ['tokenizer_config.json', `${JSON.stringify(files.tokenizerConfigJson, null, 2)}\n`],
  ]);
}

/** BOS, EOS, then any further special tokens. */
export type SpecialTokens = readonly [bos: string, eos: string, ...others: string[]];

/** Special tokens, named as LLaMA names them. */
export const defaultSpecialTokens: SpecialTokens = ['<s>', '</s>'];

/**
 * The character for each byte. Bytes that print in Latin-1 stand for themselves; the 68 others (controls, space, no-break
 * space, soft hyphen) take the code points from 256 on, in byte order.
 */
export function byteCharacters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(prints ? byte : next++);
  });
}

/**
 * GPT-2's split: contractions, then words, numbers and runs of other characters with at most one space before them, then
 * white space (all but its last character if a word follows, so that words keep their space).
 */
export const byteLevelSplit = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Parts of a byte-level BPE tokenizer. */
export interface ByteLevelBpe {
  /** Tokens in id order, special tokens included. */
  readonly tokens: readonly string[];
  /** Token pairs to merge, in order of priority. */
  readonly merges: readonly (readonly [string, string])[];
  /** Which of the tokens are special. */
  readonly specialTokens: SpecialTokens;
  /** Whether `byteLevelSplit` cuts the text before merging. */
  readonly split: boolean;
}

/** A byte-level BPE tokenizer's Hugging Face files. Like LLaMA's, it starts every text with BOS by default. */
export function byteLevelFiles({ tokens, merges, specialTokens, split }: ByteLevelBpe): TokenizerFiles {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const [bos, eos] = specialTokens;
  const bosItem = { SpecialToken: { id: bos, type_id: 0 } };
  const textItem = { Sequence: { id: 'A', type_id: 0 } };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: split };
  return {
    tokenizerJson: {
      ...bareTokenizer,
      added_tokens: specialTokens.map((content) => addedToken(ids.get(content), content, true)),
      pre_tokenizer: byteLevel,
      post_processor: {
        type: 'TemplateProcessing',
        single: [bosItem, textItem],
        pair: [bosItem, textItem, { Sequence: { id: 'B', type_id: 1 } }],
        special_tokens: { [bos]: { id: bos, ids: [ids.get(bos)], tokens: [bos] } },
      },
      decoder: byteLevel,
      model: { ...bytePairModel, vocab: Object.fromEntries(ids), merges: merges.map((pair) => [...pair]) },
    },
    tokenizerConfigJson: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: bos,
      eos_token: eos,
      clean_up_tokenization_spaces: false,
    },
  };
}
