/** The UTF-8 bytes that tokens stand for, those included that are only part of a character. */
import { byteCharacters } from './byte-level.ts';
import { partsOf } from './components.ts';
import type { Tokenizer } from './text-tokens.ts';

/** How a vocabulary spells the bytes of a token; undefined where it does not say. */
export type TokenSpelling = (token: string) => Uint8Array | undefined;

/**
 * The spelling that a `tokenizer.json` uses: the byte-level alphabet, or SentencePiece's with `▁` for the space and
 * `<0x0A>` for bytes; undefined for another.
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
 * Bytes of tokens as they are inside a text: none for control tokens; undefined for a token that is part of a
 * character where the tokenizer does not say which.
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

/** The text of tokens inside a text: they are decoded after another one, since a decoder may strip the space in front of a text. */
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
