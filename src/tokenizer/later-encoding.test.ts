import { describe, expect, it } from 'vitest';
import { type LaterEncoder, laterTokens, whenEncoded } from './later-encoding.ts';

const long = 'x'.repeat(20_000);

/** Encodes a text as its length, and counts the texts that it is given. */
function counting(result: (text: string) => Int32Array | undefined): LaterEncoder & { readonly texts: string[] } {
  const texts: string[] = [];
  return {
    name: 'counting',
    texts,
    async encode(text) {
      texts.push(text);
      return result(text);
    },
  };
}

const lengths = (text: string): Int32Array => Int32Array.of(text.length);

describe('texts that are encoded elsewhere', () => {
  it('are long, or many short ones together', async () => {
    const encoder = counting(lengths);
    const here: string[] = [];
    const encode = (text: string): number => {
      const [first] = laterTokens(encoder, text, undefined) ?? [-1];
      if (first < 0) here.push(text);
      return first;
    };
    expect(await whenEncoded(() => ['short', long, 'short again'].map(encode))).toEqual([-1, 20_000, 11]);
    expect(encoder.texts).toEqual([long, 'short again']);
    expect(new Set(here)).toEqual(new Set(['short']));
    const parts = Array.from({ length: 30 }, (_, index) => String(index).padEnd(1000));
    expect(await whenEncoded(() => parts.map(encode))).toEqual(parts.map((_, index) => (index < 16 ? -1 : 1000)));
  });

  it('are told apart by the token before them', async () => {
    const encoder = counting(lengths);
    await whenEncoded(() => [laterTokens(encoder, long, 'text'), laterTokens(encoder, long, 'control')]);
    expect(encoder.texts).toEqual([long, long]);
  });

  it('may depend on tokens of others', async () => {
    const encoder = counting(lengths);
    const make = (): number[] => {
      const [first] = laterTokens(encoder, long, undefined) ?? [];
      return [...(laterTokens(encoder, `${first} ${long}`, undefined) ?? [])];
    };
    expect(await whenEncoded(make)).toEqual([20_006]);
  });

  it('are encoded in place by callers that do not wait, and where there is no other thread', async () => {
    const encoder = counting(() => undefined);
    expect(laterTokens(encoder, long, undefined)).toBeUndefined();
    expect(encoder.texts).toEqual([]);
    expect(await whenEncoded(() => laterTokens(encoder, long, undefined) ?? 'in place')).toBe('in place');
  });

  it('give the errors of the function and of the other thread', async () => {
    const encoder = counting(lengths);
    const refusing = whenEncoded(() => {
      if (laterTokens(encoder, long, undefined)?.[0] === 20_000) throw new Error('too long');
      throw new Error('of a run that is repeated');
    });
    await expect(refusing).rejects.toThrow('too long');
    const failing = { name: 'failing', encode: () => Promise.reject(new Error('changed')) };
    await expect(whenEncoded(() => laterTokens(failing, long, undefined))).rejects.toThrow('changed');
  });
});
