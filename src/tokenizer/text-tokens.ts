/** The interface of a tokenizer for the rest of Linnet. */
import { LinnetError } from '../errors.ts';

/** Options of `Tokenizer.encode`. */
export interface EncodeOptions {
  /** Put the BOS token first. Default false. */
  readonly bos?: boolean;
  /**
   * Kind of the token before a text that continues another one: tokenizers of the SentencePiece kind put a blank before a text
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
  /** Mask token, in place of a token to predict from both sides, where the model has one. */
  readonly maskId?: number;
  /** Control tokens. `encode` never makes them out of text, `decode` skips them. */
  readonly specialIds: ReadonlySet<number>;
  /** Their ids by name, where they have names: "<extra_id_0>". */
  readonly specialNames?: ReadonlyMap<string, number>;
  /** Tokens of its files that the model has no row for: `encode` never makes them. Default: none. */
  readonly withoutRow?: readonly string[];
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

/** The id. @throws LinnetError `INPUT` for anything but a non-negative integer */
export function checkTokenId(id: number): number {
  if (Number.isInteger(id) && id >= 0) return id;
  const given = typeof id === 'number' ? id : typeof id;
  throw new LinnetError('INPUT', `${given} is not a token id; expected a non-negative integer`);
}
