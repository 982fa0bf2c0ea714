/** The UTF-8 bytes that tokens stand for, including bytes that are only part of a character. */
import { byteCharacters } from './byte-level.ts';
import { partsOf } from './components.ts';
import type { Tokenizer } from './text-tokens.ts';

/** How a vocabulary spells a token's bytes; undefined if it does not say. */
export type TokenSpelling = (token: string) => Uint8Array | undefined;

/**
 * The spelling in a `tokenizer.json`: the byte-level alphabet, or SentencePiece's with `▁` for the space and `<0x0A>` for
 * bytes; undefined for any other.
 */
export function tokenSpelling(decoder: unknown): TokenSpelling | undefined {
  const parts = [...partsOf(decoder)];
  const types = parts.map(({ type }) => type);
  if (types.includes('ByteLevel')) return byteLevelSpelling();
  const spaced = types.includes('Metaspace') || parts.some((part) => part.type === 'Replace' && part.content === ' ');
  return spaced ? sentencePieceSpelling(types.includes('ByteFallback')) : undefined;
}

function byteLevelSpelling(): TokenSpelling {
  const bytes = new Map(byteCharacters().map((character, byte) => [character, byte]));
  return (token) => {
    const spelled = [...token].map((character) => bytes.get(character));
    return spelled.includes(undefined) ? undefined : Uint8Array.from(spelled, (byte) => byte ?? 0);
  };
}

function sentencePieceSpelling(byteFallback: boolean): TokenSpelling {
  return (token) => {
    const byte = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
    return byte === undefined
      ? new TextEncoder().encode(token.replaceAll('▁', ' '))
      : Uint8Array.of(parseInt(byte, 16));
  };
}

/**
 * Tokens' bytes inside a text: none for control tokens; undefined for a token that is part of a character if the tokenizer
 * does not say which.
 */
export function tokenBytes(tokenizer: Tokenizer): (id: number) => Uint8Array | undefined {
  const innerText = decodingInside(tokenizer);
  return (id) => {
    if (tokenizer.specialIds.has(id)) return new Uint8Array(0);
    const bytes = tokenizer.bytesOf?.(id);
    if (bytes !== undefined) return bytes;
    const text = innerText([id]);
    return text.includes('\ufffd') ? undefined : new TextEncoder().encode(text);
  };
}

/** Tokens' text inside a text: decodes them after another token, since a decoder may strip a text's leading space. */
export function decodingInside(tokenizer: Tokenizer): (ids: readonly number[]) => string {
  let anchor: number[] = [];
  try {
    anchor = [...tokenizer.encode('a')].slice(-1);
  } catch {
    // a vocabulary without the letter
  }
  const { length } = tokenizer.decode(anchor);
  return (ids) => tokenizer.decode([...anchor, ...ids]).slice(length);
}
