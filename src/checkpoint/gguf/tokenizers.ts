/** Makes the tokenizer files of a Hugging Face folder from a GGUF file's metadata. */
import { LinnetError } from '../../errors.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { listNames, quoteName, shownValue } from '../../files/name-list.ts';
import { addedToken, bareTokenizer, bytePairModel } from '../tokenizer-json.ts';
import type { MetadataValue } from './header.ts';
import { isNumber, MetadataPart } from './metadata.ts';
import { preTokenizers } from './pre-tokenizers.ts';
import { refusal } from './refusal.ts';

/** Files by name. */
export interface TokenizerParts {
  readonly json: ReadonlyMap<string, JsonObject>;
  readonly texts: ReadonlyMap<string, string>;
}

/** Token kinds, as files number them. */
const kinds = { unknown: 2, control: 3, userDefined: 4, byte: 6 } as const;

/** Tokens that end a turn, often marked as user-defined in files; no text becomes one. */
export const endTexts: ReadonlySet<string> = new Set([
  ...['<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>'],
  ...['<EOT>', '_<EOT>', '<end_of_utterance>', '<｜end▁of▁sentence｜>', '<|return|>', '<|call|>'],
]);

/** tokenizer_config.json's roles, with GGUF's names for them; one is misspelled there. */
const roles: Readonly<Record<string, readonly string[]>> = {
  bos_token: ['bos'],
  eos_token: ['eos'],
  unk_token: ['unknown'],
  pad_token: ['padding'],
  cls_token: ['cls'],
  sep_token: ['seperator', 'separator'],
  mask_token: ['mask'],
};

/** Most tokens; vocabularies in use have up to 262,144, of 7 characters on average. */
const mostTokens = 1 << 20;
const mostCharacters = 1 << 22;

function areTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

/** A tokenizer's metadata. */
class Vocabulary extends MetadataPart {
  readonly tokens: readonly string[];
  readonly types: readonly number[];

  constructor(metadata: ReadonlyMap<string, MetadataValue>, source: string, most?: number) {
    super(metadata, source, 'tokenizer.ggml.');
    this.tokens = this.texts('tokens').slice(0, most);
    const characters = this.tokens.reduce((sum, { length }) => sum + length, 0);
    if (this.tokens.length > mostTokens || characters > mostCharacters) {
      const size = `${this.tokens.length} tokens of ${characters} characters together`;
      throw new LinnetError(
        'FORMAT',
        `${source} has ${size}; at most ${mostTokens} and ${mostCharacters} are expected`,
      );
    }
    this.types = this.has('token_type') ? this.numbers('token_type') : [];
  }

  texts(name: string): readonly string[] {
    return this.read(name, 'a list of texts', areTexts);
  }

  /** One number per token. */
  numbers(name: string): readonly number[] {
    const count = this.tokens.length;
    const isList = (value: unknown): value is readonly number[] =>
      Array.isArray(value) && value.length >= count && value.every((one) => typeof one === 'number');
    return this.read(name, `a number of each of ${count} tokens`, isList).slice(0, count);
  }

  isSpecial(id: number): boolean {
    return this.types[id] === kinds.control || this.types[id] === kinds.unknown || endTexts.has(this.tokens[id]);
  }

  /** Ids by token. @throws LinnetError `FORMAT` for a duplicate token */
  ids(tokens = this.tokens): Map<string, number> {
    const ids = new Map(tokens.map((token, id) => [token, id]));
    if (ids.size === tokens.length) return ids;
    const twice = tokens.find((token, id) => ids.get(token) !== id);
    throw new LinnetError('FORMAT', `${this.source} has the token ${quoteName(twice ?? '')} twice`);
  }

  /** Tokens to look for in texts, or to write by name. */
  added(): JsonObject[] {
    return this.tokens.flatMap((content, id) => {
      const special = this.isSpecial(id);
      if (content === '' || (!special && this.types[id] !== kinds.userDefined)) return [];
      return [addedToken(id, content, special)];
    });
  }

  /** tokenizer_config.json. @param bos whether BOS comes first if the file does not say */
  config(bos: boolean, eos: boolean, name = 'PreTrainedTokenizerFast'): JsonObject {
    const named = Object.entries(roles).flatMap(([role, names]) => {
      const id = names.map((one) => this.get(`${one}_token_id`)).find(isNumber);
      const token = id === undefined ? undefined : this.tokens[id];
      return token === undefined ? [] : [[role, token] as const];
    });
    return {
      ...Object.fromEntries(named),
      tokenizer_class: name,
      add_bos_token: this.flag('add_bos_token', bos),
      add_eos_token: this.flag('add_eos_token', eos),
      clean_up_tokenization_spaces: false,
    };
  }
}

/** @param parts of tokenizer.json, besides the added tokens */
function jsonFiles(vocabulary: Vocabulary, parts: JsonObject, bos: boolean, eos: boolean): TokenizerParts {
  return {
    json: new Map<string, JsonObject>([
      ['tokenizer.json', { ...bareTokenizer, added_tokens: vocabulary.added(), ...parts }],
      ['tokenizer_config.json', vocabulary.config(bos, eos)],
    ]),
    texts: new Map(),
  };
}

function sequence(type: 'normalizers' | 'pretokenizers' | 'decoders', parts: readonly JsonObject[]): JsonObject {
  return { type: 'Sequence', [type]: parts };
}

/** Byte merges: GPT-2 and later models. */
function byteLevel(vocabulary: Vocabulary): TokenizerParts {
  const pre = vocabulary.get('pre') ?? 'default';
  const cut = typeof pre === 'string' ? preTokenizers.get(pre) : undefined;
  if (cut === undefined) {
    const known = [...preTokenizers.keys()].join(', ');
    throw refusal(vocabulary.source, `splits texts by ${shownValue(pre)} (tokenizer.ggml.pre), not by one of ${known}`);
  }
  const merges = vocabulary.texts('merges').map((merge) => {
    const space = merge.indexOf(' ', 1);
    if (space < 0) throw vocabulary.unusable('merges', merge, 'two tokens with a blank between them');
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
  const bytes = {
    type: 'ByteLevel',
    add_prefix_space: vocabulary.flag('add_space_prefix', false),
    trim_offsets: true,
    use_regex: false,
  };
  const splits = cut.splits.map((expression) => ({
    type: 'Split',
    pattern: { Regex: expression },
    behavior: 'Isolated',
    invert: false,
  }));
  return jsonFiles(
    vocabulary,
    {
      pre_tokenizer: sequence('pretokenizers', [...splits, bytes]),
      decoder: { ...bytes, add_prefix_space: false },
      model: {
        ...bytePairModel,
        ignore_merges: cut.wholeWords ?? false,
        vocab: Object.fromEntries(vocabulary.ids()),
        merges,
      },
    },
    cut.bos ?? false,
    false,
  );
}

const blank = '▁';

/** Longest piece to split; longer ones are runs of blanks. */
const longestPiece = 128;

/** Pairs that make up a vocabulary's pieces, highest score first: SentencePiece merges by score. */
function scoredMerges(
  vocabulary: Vocabulary,
  ids: ReadonlyMap<string, number>,
): readonly (readonly [string, string])[] {
  const scores = vocabulary.numbers('scores');
  const merges: { readonly pair: readonly [string, string]; readonly score: number }[] = [];
  for (const [id, piece] of vocabulary.tokens.entries()) {
    if (vocabulary.isSpecial(id) || vocabulary.types[id] === kinds.byte || piece.length > longestPiece) continue;
    for (let at = 1; at < piece.length; at++) {
      const [left, right] = [piece.slice(0, at), piece.slice(at)];
      if (ids.has(left) && ids.has(right)) merges.push({ pair: [left, right], score: scores[id] });
    }
  }
  return merges.toSorted((a, b) => b.score - a.score).map(({ pair }) => pair);
}

/** SentencePiece's byte pairs: LLaMA 2 and Gemma. */
function sentencePiece(vocabulary: Vocabulary): TokenizerParts {
  const ids = vocabulary.ids();
  const prefixed = vocabulary.flag('add_space_prefix', true);
  const replace = (from: string, content: string): JsonObject => ({
    type: 'Replace',
    pattern: { String: from },
    content,
  });
  return jsonFiles(
    vocabulary,
    {
      normalizer: sequence('normalizers', [
        ...(prefixed ? [{ type: 'Prepend', prepend: blank }] : []),
        replace(' ', blank),
      ]),
      pre_tokenizer: null,
      decoder: sequence('decoders', [
        replace(blank, ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefixed ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ]),
      model: {
        ...bytePairModel,
        unk_token: vocabulary.tokens[vocabulary.number('unknown_token_id', -1)] ?? null,
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(ids),
        merges: scoredMerges(vocabulary, ids),
      },
    },
    true,
    false,
  );
}

/** BERT's pieces: a word's first piece begins with ▁, whereas vocab.txt marks the others with ##. */
function wordPieces(vocabulary: Vocabulary): TokenizerParts {
  const names = vocabulary.tokens.map((token, id) => {
    if (vocabulary.isSpecial(id)) return token;
    return token.startsWith(blank) ? token.slice(blank.length) : `##${token}`;
  });
  // [CLS] and [SEP] are always added.
  const { add_bos_token: _, add_eos_token: __, ...config } = vocabulary.config(true, true, 'BertTokenizer');
  return {
    json: new Map([['tokenizer_config.json', { ...config, do_lower_case: true }]]),
    texts: new Map([['vocab.txt', `${names.join('\n')}\n`]]),
  };
}

/** SentencePiece's unigrams: T5. */
function unigrams(vocabulary: Vocabulary): TokenizerParts {
  const scores = vocabulary.numbers('scores');
  const map = vocabulary.get('precompiled_charsmap');
  const bytes = Array.isArray(map) ? Uint8Array.from(map, Number) : undefined;
  const metaspace = { type: 'Metaspace', replacement: blank, prepend_scheme: 'always', split: true };
  return jsonFiles(
    vocabulary,
    {
      normalizer:
        bytes === undefined
          ? null
          : {
              type: 'Precompiled',
              precompiled_charsmap: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')),
            },
      pre_tokenizer: sequence('pretokenizers', [{ type: 'WhitespaceSplit' }, metaspace]),
      decoder: metaspace,
      model: {
        type: 'Unigram',
        unk_id: vocabulary.number('unknown_token_id', 2),
        vocab: vocabulary.tokens.map((token, id) => [token, scores[id]]),
      },
    },
    false,
    true,
  );
}

/** Tokenizers by `tokenizer.ggml.model`. */
const tokenizers: Readonly<Record<string, (vocabulary: Vocabulary) => TokenizerParts>> = {
  gpt2: byteLevel,
  llama: sentencePiece,
  bert: wordPieces,
  t5: unigrams,
};

/**
 * A file's tokenizer and chat templates.
 * @param most tokens to keep. Default: all
 * @returns no files if there is no tokenizer
 * @throws LinnetError `CONFIG` for an unknown kind of tokenizer, `FORMAT` for malformed metadata
 */
export function tokenizerParts(
  metadata: ReadonlyMap<string, MetadataValue>,
  source: string,
  most?: number,
): TokenizerParts {
  const kind = metadata.get('tokenizer.ggml.model');
  if (kind === undefined || kind === 'no_vocab') return { json: new Map(), texts: new Map() };
  if (typeof kind !== 'string' || !Object.hasOwn(tokenizers, kind)) {
    const known = listNames(Object.keys(tokenizers));
    throw refusal(source, `has a tokenizer of kind ${shownValue(kind)}; expected one of ${known}`);
  }
  return tokenizers[kind](new Vocabulary(metadata, source, most));
}

/** Chat templates by name, the first being "default". */
export function templateTexts(metadata: ReadonlyMap<string, MetadataValue>): ReadonlyMap<string, string> {
  const key = 'tokenizer.chat_template';
  const named = [...metadata].flatMap(([name, value]) => {
    // The name becomes a file name.
    if (typeof value !== 'string' || !/^tokenizer\.chat_template(\.\w{1,40})?$/.test(name)) return [];
    return [[name === key ? 'default' : name.slice(key.length + 1), value] as const];
  });
  return new Map(named.toSorted(([a], [b]) => Number(b === 'default') - Number(a === 'default')));
}
