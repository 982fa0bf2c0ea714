/** Texts as tokens: which control tokens come before and after, and whether their names in texts are read as tokens. */
import type { EncodeOptions, Tokenizer } from './text-tokens.ts';

/** How a text becomes tokens. */
export interface TextEncoding {
  /** Whether BOS comes first. Default `auto`: the tokens that the tokenizer's files put before a text. */
  readonly bos?: 'auto' | boolean;
  /** Whether the text is complete, so that its closing tokens follow. Default false: it will be continued. */
  readonly whole?: boolean;
  /** Whether to read control tokens' names as tokens. Never for strangers' texts. Default false. */
  readonly special?: boolean;
  /** Kind of the preceding token. Default: none, the text begins here. */
  readonly follows?: EncodeOptions['follows'];
  /** Caches tokens of recurring texts. Default: encodes every text. */
  readonly memory?: KnownTexts;
}

/** A cache of texts' tokens, for one user only: its timing tells others which texts are known. */
export interface KnownTexts {
  get(text: string): Int32Array | undefined;
  set(text: string, tokens: Int32Array): unknown;
}

/** Control tokens before a text. @throws LinnetError `INPUT` for `bos: true` if the tokenizer has none */
export function tokensBefore(tokenizer: Tokenizer, bos: TextEncoding['bos'] = 'auto'): readonly number[] {
  if (bos === false) return [];
  if (bos === true) return Array.from(tokenizer.encode('', { bos }));
  return tokenizer.before ?? (tokenizer.bosId === undefined ? [] : [tokenizer.bosId]);
}

/**
 * Tokens of a text, or of texts and token ids in turn.
 * @throws LinnetError `INPUT` like `tokensBefore`
 */
export function textTokens(
  tokenizer: Tokenizer,
  text: string | readonly (string | number)[],
  { bos, whole = false, special = false, follows, memory }: TextEncoding = {},
): number[] {
  const parts = typeof text === 'string' ? [text] : text;
  const names = special ? new ControlNames(tokenizer) : undefined;
  const split =
    names === undefined ? parts : parts.flatMap((part) => (typeof part === 'string' ? names.split(part) : part));
  const tokens: number[] = [];
  let after = follows;
  for (const part of split) {
    if (part === '') continue;
    if (typeof part === 'number') tokens.push(part);
    else {
      const key = `${after} ${part}`;
      const ids = memory?.get(key) ?? tokenizer.encode(part, { follows: after });
      memory?.set(key, ids);
      for (const id of ids) tokens.push(id);
    }
    after = tokenKind(tokenizer, tokens.at(-1)) ?? after;
  }
  const begins = follows === undefined && typeof parts[0] !== 'number';
  const before = begins ? tokensBefore(tokenizer, bos) : [];
  // A text may itself begin with its control tokens.
  const written = special && before.every((id, index) => tokens[index] === id);
  return [...(written ? [] : before), ...tokens, ...(whole ? (tokenizer.after ?? []) : [])];
}

/** A token's kind, as the encoding of the following text needs it. */
export function tokenKind({ specialIds }: Tokenizer, token: number | undefined): EncodeOptions['follows'] {
  if (token === undefined) return undefined;
  return specialIds.has(token) ? 'control' : 'text';
}

/** Control tokens' names, and their treatment in texts. */
export class ControlNames {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #pattern: RegExp | undefined;

  constructor(tokenizer: Tokenizer) {
    // A name of one character could not be split.
    this.#ids = new Map([...(tokenizer.specialNames ?? [])].filter(([name]) => name.length > 1));
    // At each place the longest name wins.
    const longestFirst = [...this.#ids.keys()].sort((a, b) => b.length - a.length);
    const escaped = longestFirst.map((name) => name.replace(/[$()*+./?[\\\]^{|}-]/g, '\\$&'));
    this.#pattern = escaped.length === 0 ? undefined : new RegExp(`(${escaped.join('|')})`, 'g');
  }

  /** A token's name; empty if it has none. */
  of(id: number | undefined): string {
    return [...this.#ids].find(([, own]) => own === id)?.[0] ?? '';
  }

  /** A text with every name split: the mark follows each name's first character. */
  breakApart(text: string, mark: string): string {
    if (this.#pattern === undefined) return text;
    return text.replace(this.#pattern, (name) => name.slice(0, 1) + mark + name.slice(1));
  }

  /** Cuts a text at the names, which become tokens. */
  split(text: string): (string | number)[] {
    const parts = this.#pattern === undefined ? [text] : text.split(this.#pattern);
    return parts.map((part) => this.#ids.get(part) ?? part);
  }
}
