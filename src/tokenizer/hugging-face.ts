/**
 * A tokenizer in Hugging Face format, run by `@huggingface/tokenizers`.
 *
 * The library looks for added tokens in every text it encodes, special ones included, so a user who writes `</s>` would get
 * the control token, and no option prevents it. So special tokens are removed from `added_tokens` and renamed in the
 * vocabulary to names that no well-formed text contains: they begin with a lone surrogate. This holds for every model type
 * (BPE with `ignore_merges`, Unigram and WordPiece would otherwise still find them as words). We keep their ids.
 */
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { LinnetError, reasonOf } from '../errors.ts';
import { quoteName, shownValue } from '../files/name-list.ts';
import { bytePairs } from './byte-pairs.ts';
import { checkComponents, type UnfamiliarParts } from './components.ts';
import { tokenSpelling } from './token-bytes.ts';
import { type LaterEncoder, laterTokens } from './later-encoding.ts';
import { removeTokensWithoutRow } from './model-rows.ts';
import { textEnds } from './text-ends.ts';
import { textPrefix } from './text-prefix.ts';
import { checkTokenId, type Tokenizer } from './text-tokens.ts';
import { tokenName, wordPieceSpecialTokens } from './word-piece.ts';
import { requireIterable, requireOptions, requireText } from '../files/arguments.ts';

/** Runs work with a limit in milliseconds. @throws an error named `TimeLimitError` beyond it */
export type WorkLimit = <T>(work: () => T, milliseconds: number) => T;

/** The parsed files of a Hugging Face tokenizer. */
export interface HuggingFaceTokenizerFiles {
  /** `tokenizer.json`. */
  readonly tokenizerJson: JsonObject;
  /** `tokenizer_config.json`: names the special tokens. If it does not, WordPiece uses BERT's. */
  readonly tokenizerConfigJson?: JsonObject;
  /** The model's `config.json`: `bos_token_id` and the like, used if tokenizer_config.json says nothing. */
  readonly modelConfigJson?: JsonObject;
  /** The tokenizer's name in errors, usually a path. Default `tokenizer.json`. */
  readonly origin?: string;
  /** Ends unfamiliar patterns that run too long. Default: none, as in browsers, where a hanging page can be closed. */
  readonly timeLimit?: WorkLimit;
  /** Encodes long texts for callers that wait. Default: none, as in browsers. */
  readonly later?: LaterEncoder;
}

/** Milliseconds allowed per text and per character or token: some fifty times the usual. */
const patience = { start: 2000, each: 0.05 };

/** Larger ids would make the vocabulary's table sparse; no tokenizer has 16 million tokens. */
const maximumTokenId = (1 << 24) - 1;

/** Cannot occur in well-formed text, and the library gets no other. */
const maskPrefix = '\ud800';

/** Keys of tokenizer_config.json that name one special token each. */
const specialTokenKeys = [
  'bos_token',
  'eos_token',
  'pad_token',
  'unk_token',
  'cls_token',
  'sep_token',
  'mask_token',
] as const;

/**
 * A tokenizer from parsed Hugging Face files.
 * @throws LinnetError `FORMAT` if the files are malformed or describe a component the library does not know.
 */
export function huggingFaceTokenizer(files: HuggingFaceTokenizerFiles): Tokenizer {
  const origin = files.origin ?? 'tokenizer.json';
  const { tokenizerJson, tokenizerConfigJson = {}, modelConfigJson = {}, timeLimit, later } = files;
  const model = tokenizerJson.model;
  if (!isJsonObject(model)) throw new LinnetError('FORMAT', `${origin} has no object "model"`);
  const unfamiliar = checkComponents(tokenizerJson, origin);
  const allAdded = addedTokens(tokenizerJson.added_tokens, origin);
  const ids = tokenIds(model.vocab, origin);
  for (const token of allAdded) ids.set(token.content, token.id);
  const defaultNames: Readonly<Record<string, string>> = model.type === 'WordPiece' ? wordPieceSpecialTokens : {};
  const names = specialTokenKeys.map((key) => {
    const given = tokenizerConfigJson[key];
    return [key, given === undefined ? defaultNames[key] : tokenName(given)] as const;
  });
  const optional = new Set([...allAdded.map(({ content }) => content), ...names.map(([, name]) => name)]);
  const removed = removeTokensWithoutRow(ids, optional, modelConfigJson, origin);
  const added = allAdded.filter(({ content }) => !removed.has(content));
  let vocabularySize = 0;
  for (const id of ids.values()) vocabularySize = Math.max(vocabularySize, id + 1);

  const named = new Map<string, number>();
  for (const [key, name] of names) {
    const id = name === undefined ? undefined : ids.get(name);
    if (id !== undefined) named.set(key, id);
  }
  /** A special token's id by its name in tokenizer_config.json, otherwise from config.json. The name `null` means none. */
  const roleId = (role: 'bos' | 'eos' | 'pad' | 'cls' | 'sep' | 'mask'): number | undefined => {
    const key = `${role}_token`;
    if (tokenizerConfigJson[key] === null) return undefined;
    return named.get(key) ?? configuredId(modelConfigJson[`${key}_id`], vocabularySize);
  };
  const roles = {
    bosId: roleId('bos'),
    eosId: roleId('eos'),
    padId: roleId('pad'),
    clsId: roleId('cls'),
    sepId: roleId('sep'),
    maskId: roleId('mask'),
  };

  const specialIds = new Set(named.values());
  for (const token of added) if (token.special) specialIds.add(token.id);
  for (const id of Object.values(roles)) if (id !== undefined) specialIds.add(id);
  const specialNames = new Map<string, number>();
  for (const [name, id] of ids) if (specialIds.has(id)) specialNames.set(name, id);
  const ends = textEnds({ tokenizer: tokenizerJson, config: tokenizerConfigJson, model: modelConfigJson }, ids, roles);
  const masked = new Set([...specialNames.keys(), ...removed.keys()]);
  const mask = (content: string): string => (masked.has(content) ? maskPrefix + content : content);
  for (const [name, id] of specialNames) {
    ids.delete(name);
    ids.set(mask(name), id);
  }

  const maskedJson = maskedModel(model, mask);
  const fill = model.type === 'BPE' ? bytePairs(ids, model, maskedJson.unk_token, origin) : undefined;
  const library = (json: JsonObject): LibraryTokenizer => {
    const instance = openLibrary(json, maskedConfig(tokenizerConfigJson, mask), origin);
    fill?.(instance);
    const pieces = instance.model;
    // The library spreads a word's tokens into a call's arguments, which can hold some hundred thousand.
    if (pieces.tokenize) pieces.encode = (words) => words.flatMap((word) => pieces.tokenize?.(word) ?? []);
    return instance;
  };
  // The file's vocabulary is released with its object: only this one stays.
  const json = {
    ...tokenizerJson,
    model: maskedJson,
    added_tokens: added.filter((token) => !specialIds.has(token.id)).map((token) => token.source),
  };
  const { scheme, without } = textPrefix(json);
  const whole = library(json);
  /** Without the blank that begins a text; made when a text first continues another. */
  let inside = scheme === 'none' ? whole : undefined;
  /** Runs a step over `size` characters or tokens, with a time limit if its patterns need one. */
  const watch = <T>(what: keyof UnfamiliarParts, size: number, work: () => T): T => {
    try {
      if (timeLimit === undefined || !unfamiliar[what]) return work();
      return timeLimit(work, Math.ceil(patience.start + size * patience.each));
    } catch (cause) {
      const isEndless = cause instanceof Error && cause.name === 'TimeLimitError';
      const reason = isEndless ? 'a part of it takes too long' : String(cause);
      throw new LinnetError('FORMAT', `${origin} cannot be run: ${reason}`, { cause });
    }
  };
  const written = new Set(added.map(({ id }) => id));
  const spelling = tokenSpelling(tokenizerJson.decoder);

  return {
    vocabularySize,
    ...roles,
    specialIds,
    specialNames,
    withoutRow: [...removed.keys()],
    ...ends,

    encode(text, options = {}) {
      requireText(text, 'the text');
      requireOptions(options, 'the options of encode');
      const { bos = false, follows } = options;
      let tokens = later && laterTokens(later, text, follows);
      if (tokens === undefined) {
        const begins = follows === undefined || (follows === 'control' && scheme === 'always');
        const wellFormed = text.replace(/\p{Surrogate}/gu, '\ufffd');
        const { ids: found } = watch('encoding', text.length, () =>
          (begins ? whole : (inside ??= library(without))).encode(wellFormed, { add_special_tokens: false }),
        );
        // If a vocabulary neither covers a character nor names an unknown token, the library returns no id.
        if (found.includes(undefined)) {
          throw new LinnetError('FORMAT', `${origin} has no token for a part of the text and no unknown token`);
        }
        tokens = Int32Array.from(found);
      }
      if (!bos) return tokens;
      if (roles.bosId === undefined) {
        throw new LinnetError('INPUT', 'this tokenizer has no BOS token; encode without bos');
      }
      const begun = new Int32Array(1 + tokens.length);
      begun[0] = roles.bosId;
      begun.set(tokens, 1);
      return begun;
    },

    decode(given) {
      if (!Array.isArray(given)) requireIterable(given, 'the token ids');
      const visible: number[] = [];
      for (const id of given) {
        const isKnown = typeof id === 'number' && id < vocabularySize && whole.id_to_token(id) !== undefined;
        if (!isKnown) checkTokenId(id);
        else if (!specialIds.has(id)) visible.push(id);
      }
      if (visible.length === 0) return ''; // the library refuses an empty list
      return watch('decoding', visible.length, () =>
        whole.decode(visible, { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
      );
    },

    bytesOf(id) {
      if (specialIds.has(id) || written.has(id)) return undefined;
      const token = whole.id_to_token(id);
      return token === undefined ? undefined : spelling?.(token);
    },
  };
}

function openLibrary(tokenizerJson: JsonObject, config: Record<string, unknown>, origin: string): LibraryTokenizer {
  const absent = { normalizer: null, pre_tokenizer: null, decoder: null };
  try {
    return new LibraryTokenizer({ ...absent, ...tokenizerJson, post_processor: null }, config);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${origin} is not a tokenizer we can run: ${reasonOf(cause)}`, { cause });
  }
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly source: JsonObject;
}

function addedTokens(value: unknown, origin: string): AddedToken[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new LinnetError('FORMAT', `"added_tokens" of ${origin} is not an array`);
  return value.map((source: unknown, index) => {
    if (!isJsonObject(source) || typeof source.content !== 'string' || source.content === '') {
      throw new LinnetError('FORMAT', `added token ${index} of ${origin} has no "content"`);
    }
    const id = checkedTokenId(source.id, source.content, origin);
    return { id, content: source.content, special: source.special === true, source };
  });
}

/** A vocabulary's ids by token: from an object (BPE, WordPiece) or a list of [token, score] (Unigram). */
function tokenIds(vocabulary: unknown, origin: string): Map<string, number> {
  const ids = new Map<string, number>();
  if (Array.isArray(vocabulary)) {
    for (const [id, piece] of vocabulary.entries()) {
      if (!Array.isArray(piece) || typeof piece[0] !== 'string' || typeof piece[1] !== 'number') {
        throw new LinnetError('FORMAT', `vocabulary entry ${id} of ${origin} is not a pair of token and score`);
      }
      ids.set(piece[0], id);
    }
  } else if (isJsonObject(vocabulary)) {
    for (const token of Object.keys(vocabulary)) ids.set(token, checkedTokenId(vocabulary[token], token, origin));
  } else {
    throw new LinnetError('FORMAT', `"model.vocab" of ${origin} is neither an object nor an array`);
  }
  if (ids.size === 0) throw new LinnetError('FORMAT', `the vocabulary of ${origin} is empty`);
  return ids;
}

function checkedTokenId(id: unknown, token: string, origin: string): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= maximumTokenId) return id;
  throw new LinnetError(
    'FORMAT',
    `token ${quoteName(token)} of ${origin} has the id ${shownValue(id)}; expected an integer from 0 to ${maximumTokenId}`,
  );
}

/** An id from config.json: a number, or the first of a list (several EOS ids, for example). */
function configuredId(value: unknown, vocabularySize: number): number | undefined {
  const id: unknown = Array.isArray(value) ? value[0] : value;
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabularySize ? id : undefined;
}

/** A model with the library's names; a byte-pair one without vocabulary and merges, which `bytePairs` supplies. */
function maskedModel(model: JsonObject, mask: (token: string) => string): Record<string, unknown> {
  const { vocab, unk_token: unknown } = model;
  const masked: Record<string, unknown> = { ...model };
  if (typeof unknown === 'string') masked.unk_token = mask(unknown);
  if (model.type === 'BPE') Object.assign(masked, { vocab: {}, merges: [] });
  else if (Array.isArray(vocab)) masked.vocab = vocab.map(([token, score]: [string, number]) => [mask(token), score]);
  // Not by assignment: a token may be called __proto__.
  else if (isJsonObject(vocab))
    masked.vocab = Object.fromEntries(Object.entries(vocab).map(([t, id]) => [mask(t), id]));
  return masked;
}

function maskedConfig(config: JsonObject, mask: (token: string) => string) {
  const masked: Record<string, unknown> = { ...config };
  for (const key of specialTokenKeys) {
    const name = tokenName(config[key]);
    if (name !== undefined) masked[key] = mask(name);
  }
  masked.additional_special_tokens = [];
  return masked;
}
