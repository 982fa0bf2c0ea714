/** The tokenizer interface for the rest of Linnet. */
import { LinnetError } from '../errors.ts';

/** Options of `Tokenizer.encode`. */
export interface EncodeOptions {
  /** Put the BOS token first. Default false. */
  readonly bos?: boolean;
  /**
   * Kind of the token before a text that continues another: SentencePiece tokenizers put a blank before a text that begins.
   * Default: none.
   */
  readonly follows?: 'text' | 'control';
}

/** Text to token ids and back. */
export interface Tokenizer {
  /** One more than the largest token id. An embedding may have more rows (padding) but never fewer. */
  readonly vocabularySize: number;
  /** Token that starts a text, if the model has one. */
  readonly bosId?: number;
  /** Control tokens before every text, from the tokenizer's files. Default: BOS, if there is one. */
  readonly before?: readonly number[];
  /** Control tokens after every whole text: EOS or SEP. Default: none. */
  readonly after?: readonly number[];
  /** Token that ends a text, if the model has one. */
  readonly eosId?: number;
  /** Token that fills unused places in a batch, if the model has one. */
  readonly padId?: number;
  /** Token before a text that is read as a whole, if the model has one: an encoder classifies by it. */
  readonly clsId?: number;
  /** Token after such a text, and between two, if the model has one. */
  readonly sepId?: number;
  /** Mask token, which hides a token to predict from both sides, if the model has one. */
  readonly maskId?: number;
  /** Control tokens. `encode` never produces them from text, `decode` skips them. */
  readonly specialIds: ReadonlySet<number>;
  /** Control token ids by name, if named: "<extra_id_0>". */
  readonly specialNames?: ReadonlyMap<string, number>;
  /** Tokens in its files without a row in the model: `encode` never produces them. Default: none. */
  readonly withoutRow?: readonly string[];
  /**
   * Token ids of `text`, in order. A special token's name inside `text` (`</s>`, say) is encoded as plain characters, so that
   * a user's text cannot end a turn. Lone surrogates become U+FFFD.
   * @throws LinnetError `INPUT` for `bos` with a tokenizer without one.
   */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /**
   * Text of `ids`. Special tokens and ids without a token (rows that only pad the embedding) give no text; bytes that are not
   * UTF-8 give U+FFFD. The result is not tidied up ("clean_up_tokenization_spaces" is ignored), since a token's text would
   * then depend on later tokens.
   * @throws LinnetError `INPUT` if an id is not a non-negative integer.
   */
  decode(ids: Iterable<number>): string;
  /**
   * The bytes that the vocabulary spells a token with, even if they are only part of a character; undefined for control
   * tokens and if it does not say. Call `tokenBytes` instead.
   */
  bytesOf?(id: number): Uint8Array | undefined;
}

/** Returns the id. @throws LinnetError `INPUT` unless it is a non-negative integer */
export function checkTokenId(id: number): number {
  if (Number.isInteger(id) && id >= 0) return id;
  const given = typeof id === 'number' ? id : typeof id;
  throw new LinnetError('INPUT', `${given} is not a token id; expected a non-negative integer`);
}
