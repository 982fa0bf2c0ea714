/** Texts as tokens: which control tokens come before and after, and whether names of control tokens are read as such. */
import type { EncodeOptions, Tokenizer } from './text-tokens.ts';

/** How a text becomes tokens. */
export interface TextEncoding {
  /** Whether BOS comes first. Default `auto`: the tokens that the tokenizer's files put before a text. */
  readonly bos?: 'auto' | boolean;
  /** Whether the text is whole, so that the tokens after it follow, too. Default false: it will be continued. */
  readonly whole?: boolean;
  /** Whether names of control tokens are read as these tokens. Never for texts of strangers. Default false. */
  readonly special?: boolean;
  /** Kind of the token before the text. Default: none, the text begins. */
  readonly follows?: EncodeOptions['follows'];
  /** Where tokens of texts that come again are found. Default: every text is encoded. */
  readonly memory?: KnownTexts;
}

/** Tokens of texts. For the texts of one user: others could tell by the time that a text was known. */
export interface KnownTexts {
  get(text: string): Int32Array | undefined;
  set(text: string, tokens: Int32Array): unknown;
}

/** Control tokens before a text. @throws LinnetError `INPUT` for `bos: true` and a tokenizer without one */
export function tokensBefore(tokenizer: Tokenizer, bos: TextEncoding['bos'] = 'auto'): readonly number[] {
  if (bos === false) return [];
  if (bos === true) return Array.from(tokenizer.encode('', { bos }));
  return tokenizer.before ?? (tokenizer.bosId === undefined ? [] : [tokenizer.bosId]);
}

/**
 * Tokens of a text, or of texts and token ids in turn.
 * @throws LinnetError `INPUT` as `tokensBefore`
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
  // A text may write its first control tokens itself.
  const written = special && before.every((id, index) => tokens[index] === id);
  return [...(written ? [] : before), ...tokens, ...(whole ? (tokenizer.after ?? []) : [])];
}

/** Kind of a token, as the encoding of the text that follows it needs it. */
export function tokenKind({ specialIds }: Tokenizer, token: number | undefined): EncodeOptions['follows'] {
  if (token === undefined) return undefined;
  return specialIds.has(token) ? 'control' : 'text';
}

/** The names of control tokens, and their treatment in texts. */
export class ControlNames {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #pattern: RegExp | undefined;

  constructor(tokenizer: Tokenizer) {
    // A name of one character could not be broken apart.
    this.#ids = new Map([...(tokenizer.specialNames ?? [])].filter(([name]) => name.length > 1));
    // Of names that begin at one place the longest counts.
    const longestFirst = [...this.#ids.keys()].sort((a, b) => b.length - a.length);
    const escaped = longestFirst.map((name) => name.replace(/[$()*+./?[\\\]^{|}-]/g, '\\$&'));
    this.#pattern = escaped.length === 0 ? undefined : new RegExp(`(${escaped.join('|')})`, 'g');
  }

  /** The name of a token; empty where it has none. */
  of(id: number | undefined): string {
    return [...this.#ids].find(([, own]) => own === id)?.[0] ?? '';
  }

  /** A text in which no name is whole any more: the mark stands after the first character of each. */
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
