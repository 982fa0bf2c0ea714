/**
 * BERT's WordPiece tokenizer (Devlin et al., arXiv 1810.04805) from a bare vocabulary: folders older than tokenizer.json have
 * a vocab.txt with one token per line, the line number being the id.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { LinnetError } from '../errors.ts';

/** Special token names of BERT's tokenizer, used if tokenizer_config.json is silent. */
export const wordPieceSpecialTokens = {
  pad_token: '[PAD]',
  unk_token: '[UNK]',
  cls_token: '[CLS]',
  sep_token: '[SEP]',
  mask_token: '[MASK]',
} as const;

/** Whether a folder's files identify its tokenizer as BERT's, so that vocab.txt can be read as one. */
export function isBertFolder(tokenizerConfigJson: JsonObject = {}, modelConfigJson: JsonObject = {}): boolean {
  const { tokenizer_class: tokenizer } = tokenizerConfigJson;
  if (typeof tokenizer === 'string') return /^(Distil)?BertTokenizer(Fast)?$/.test(tokenizer);
  return ['bert', 'distilbert'].includes(String(modelConfigJson.model_type));
}

/**
 * The tokenizer.json equivalent to a vocab.txt.
 *
 * @param vocabulary contents of vocab.txt
 * @param tokenizerConfigJson reads `do_lower_case` (default true), `strip_accents` (default: as `do_lower_case`) and
 *   `tokenize_chinese_chars` (default true)
 * @param origin the file's name in errors
 * @throws LinnetError `FORMAT` for text that is not UTF-8, an empty vocabulary, a duplicate token, or a missing unknown token
 */
export function wordPieceJson(vocabulary: Uint8Array, tokenizerConfigJson: JsonObject, origin: string): JsonObject {
  const tokens = readLines(vocabulary, origin);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  if (ids.size !== tokens.length) {
    const twice = tokens.find((token, id) => ids.get(token) !== id);
    throw new LinnetError('FORMAT', `${origin} has the token ${JSON.stringify(twice)} twice`);
  }
  const unknown = tokenName(tokenizerConfigJson.unk_token) ?? wordPieceSpecialTokens.unk_token;
  if (!ids.has(unknown)) {
    throw new LinnetError('FORMAT', `${origin} has no token ${JSON.stringify(unknown)} for unknown words`);
  }
  const special = Object.entries(wordPieceSpecialTokens).map(
    ([key, name]) => tokenName(tokenizerConfigJson[key]) ?? name,
  );
  return {
    added_tokens: special.flatMap((content) => {
      const id = ids.get(content);
      return id === undefined ? [] : [{ id, content, special: true }];
    }),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: tokenizerConfigJson.tokenize_chinese_chars !== false,
      strip_accents: typeof tokenizerConfigJson.strip_accents === 'boolean' ? tokenizerConfigJson.strip_accents : null,
      lowercase: tokenizerConfigJson.do_lower_case !== false,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(ids),
    },
  };
}

function readLines(bytes: Uint8Array, origin: string): string[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${origin} is not UTF-8`, { cause });
  }
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  if (lines.length === 0) throw new LinnetError('FORMAT', `${origin} has no tokens; expected one per line`);
  return lines;
}

/** A token's name in tokenizer_config.json: a string, or an object with `content`. */
export function tokenName(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return isJsonObject(value) && typeof value.content === 'string' ? value.content : undefined;
}
