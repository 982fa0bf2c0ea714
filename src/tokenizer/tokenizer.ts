/** What the rest of Linnet knows of a tokenizer, and how one is loaded from a model folder. */
import { join } from 'node:path';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import { readInFolder } from '../files/regular-file.ts';
import { LinnetError } from '../errors.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { timeLimit } from './time-limit.ts';
import { isBertFolder, wordPieceJson } from './word-piece.ts';
import { requirePath } from '../files/arguments.ts';

/** Options of `Tokenizer.encode`. */
export interface EncodeOptions {
  /** Put the BOS token first. Default false. */
  readonly bos?: boolean;
  /**
   * What stands before the text, where it does not begin: tokenizers of the SentencePiece kind put a blank before a text
   * that begins. Default: nothing.
   */
  readonly follows?: 'text' | 'control';
}

/** Text to token ids and back. */
export interface Tokenizer {
  /** One more than the largest token id. An embedding may have more rows (padding) but never fewer. */
  readonly vocabularySize: number;
  /** Token that starts a text, where the model has one. */
  readonly bosId?: number;
  /** Control tokens before every text, as the tokenizer's files have it. Default: BOS, where there is one. */
  readonly before?: readonly number[];
  /** Control tokens after every whole text: EOS or SEP. Default: none. */
  readonly after?: readonly number[];
  /** Token that ends a text, where the model has one. */
  readonly eosId?: number;
  /** Token that fills unused places of a batch, where the model has one. */
  readonly padId?: number;
  /** Token before a text that is read as a whole, where the model has one: an encoder classifies by it. */
  readonly clsId?: number;
  /** Token after such a text, and between two, where the model has one. */
  readonly sepId?: number;
  /** Token in place of one that is to be predicted from both sides, where the model has one. */
  readonly maskId?: number;
  /** Control tokens. `encode` never makes them out of text, `decode` skips them. */
  readonly specialIds: ReadonlySet<number>;
  /** Their ids by name, where they have names: "<extra_id_0>". */
  readonly specialNames?: ReadonlyMap<string, number>;
  /**
   * Token ids of `text`, in order. The name of a special token inside `text` (`</s>`, say) is encoded as the
   * characters it is written with, so that a user's text cannot end a turn. Lone surrogates become U+FFFD.
   * @throws LinnetError `INPUT` if `bos` is asked of a tokenizer without one.
   */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /**
   * Text of `ids`. Special tokens and ids without a token (rows that only pad the embedding) give nothing; bytes
   * that are not UTF-8 give U+FFFD. The result is not tidied up ("clean_up_tokenization_spaces" is ignored), since
   * that would make the text of a token depend on tokens after it.
   * @throws LinnetError `INPUT` if an id is not a non-negative integer.
   */
  decode(ids: Iterable<number>): string;
  /**
   * The bytes that the vocabulary spells a token with, also where they are only part of a character; undefined for
   * control tokens and where it does not say. `tokenBytes` asks for them.
   */
  bytesOf?(id: number): Uint8Array | undefined;
}

/** Upper bounds of the files read, in bytes. The largest tokenizers in use (256K tokens) take about 35 MB. */
const maximumBytes = { tokenizer: 128 << 20, config: 16 << 20 } as const;

/**
 * Loads the tokenizer of a Hugging Face model folder: `tokenizer.json`, and if they are there
 * `tokenizer_config.json` (names of the special tokens) and `config.json` (their ids, where no name is given). In a BERT
 * folder without tokenizer.json, `vocab.txt` takes its place.
 * @throws LinnetError `NOT_FOUND` without a tokenizer, `FORMAT` if a file is malformed or too large, `PATH` if one is not a
 * regular file of the folder.
 * @example
 * ```ts
 * const tokenizer = await loadTokenizer('assets/tiny-llama');
 * const tokens = tokenizer.encode('The state', { bos: true });
 * ```
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  requirePath(folder, 'the folder');
  const tokenizerJson = await readOptionalJson(folder, 'tokenizer.json', maximumBytes.tokenizer);
  const tokenizerConfigJson = await readOptionalJson(folder, 'tokenizer_config.json', maximumBytes.config);
  const modelConfigJson = await readOptionalJson(folder, 'config.json', maximumBytes.config);
  const others = { tokenizerConfigJson, modelConfigJson, timeLimit: timeLimit() };
  if (tokenizerJson !== undefined) {
    return huggingFaceTokenizer({ tokenizerJson, ...others, origin: join(folder, 'tokenizer.json') });
  }
  const vocabulary = isBertFolder(tokenizerConfigJson, modelConfigJson)
    ? await readOptional(folder, 'vocab.txt', maximumBytes.tokenizer)
    : undefined;
  if (vocabulary === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${folder} has no tokenizer.json; copy tokenizer.json and tokenizer_config.json of its model there, or give token ids where a ` +
        'command takes them (--prompt-tokens)',
    );
  }
  const origin = join(folder, 'vocab.txt');
  return huggingFaceTokenizer({
    tokenizerJson: wordPieceJson(vocabulary, tokenizerConfigJson ?? {}, origin),
    ...others,
    origin,
  });
}

async function readOptionalJson(folder: string, name: string, limit: number): Promise<JsonObject | undefined> {
  const bytes = await readOptional(folder, name, limit);
  return bytes === undefined ? undefined : parseJsonObject(bytes, join(folder, name));
}

async function readOptional(folder: string, name: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readInFolder(folder, name, limit);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
