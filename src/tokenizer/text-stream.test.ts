import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { thirdParty } from '../../test/fixtures.ts';
import { byteTokenizer } from './bytes.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { TextStream } from './text-stream.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';
import { trainBpe } from './train-bpe.ts';

const stories = thirdParty('stories260k');
const tokenizers: Record<string, Tokenizer> = {
  bytes: byteTokenizer(),
  'byte-level BPE': huggingFaceTokenizer(
    trainBpe(['the cat and the hat; 日本 日本 日本 😀😀 😀😀 naïve naïve  two  two'], { vocabularySize: 300 }),
  ),
};
if (stories !== undefined) tokenizers['LLaMA with byte fallback'] = await loadTokenizer(stories);

function streamed(tokenizer: Tokenizer, ids: readonly number[], context: readonly number[] = []): string[] {
  const stream = new TextStream(tokenizer, context);
  return [...ids.map((id) => stream.push(id)), stream.flush()];
}

describe.each(Object.entries(tokenizers))('TextStream over %s', (_, tokenizer) => {
  /** Any ids at all: most of these sequences are not UTF-8. */
  const anyIds = fc.array(fc.integer({ min: 0, max: tokenizer.vocabularySize + 1 }), { maxLength: 80 });
  const text = fc.string({
    unit: fc.constantFrom('a', ' ', '\n', 'é', '日', '😀', '\ufffd', 'the ', '  '),
    maxLength: 60,
  });

  it('gives the text of all tokens, whatever they are', () => {
    fc.assert(
      fc.property(anyIds, (ids) => {
        expect(streamed(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
      }),
      { seed: 5, numRuns: 400 },
    );
  });

  it('continues after a context', () => {
    fc.assert(
      fc.property(text, fc.nat(), (s, cut) => {
        const ids = [...tokenizer.encode(s)];
        const at = ids.length === 0 ? 0 : cut % ids.length;
        const whole = tokenizer.decode(ids);
        const rest = streamed(tokenizer, ids.slice(at), ids.slice(0, at)).join('');
        // A cut inside a character leaves it to the continuation, and the context ends with U+FFFD for it.
        const before = tokenizer.decode(ids.slice(0, at)).replace(/\ufffd$/, '');
        expect(before + rest).toBe(whole);
      }),
      { seed: 6, numRuns: 300 },
    );
  });

  it('never gives a part of a character', () => {
    const pieces = streamed(tokenizer, [...tokenizer.encode('日本 naïve 😀👍🏽 end')]);
    expect(pieces.join('')).toBe('日本 naïve 😀👍🏽 end');
    for (const piece of pieces) expect(piece).not.toMatch(/[\ufffd\p{Surrogate}]/u);
  });
});

describe('TextStream', () => {
  it('gives out text as soon as it is certain', () => {
    const stream = new TextStream(byteTokenizer());
    expect([0x61, 0xe6, 0x97, 0xa5, 0xff, 0x62].map((id) => stream.push(id))).toEqual([
      'a',
      '',
      '',
      '日',
      '',
      '\ufffdb',
    ]);
    expect(stream.push(0xe6)).toBe('');
    expect(stream.flush()).toBe('\ufffd');
    expect(stream.flush()).toBe('');
  });

  it.skipIf(stories === undefined)('keeps the space before the first word of a continuation', () => {
    const tokenizer = tokenizers['LLaMA with byte fallback'];
    const [word] = tokenizer.encode('the');
    expect(new TextStream(tokenizer).push(word)).toBe('the');
    expect(new TextStream(tokenizer, tokenizer.encode('Once', { bos: true })).push(word)).toBe(' the');
  });

  it('decodes a bounded number of tokens at a time', () => {
    const inner = byteTokenizer();
    let longest = 0;
    const counting: Tokenizer = {
      vocabularySize: inner.vocabularySize,
      specialIds: inner.specialIds,
      encode: (text) => inner.encode(text),
      decode: (ids) => {
        const list = [...ids];
        longest = Math.max(longest, list.length);
        return inner.decode(list);
      },
    };
    const ids = Array.from({ length: 2000 }, (_, index) => [0xff, 0xe6, 0x80, 0x61][index % 4]);
    expect(streamed(counting, ids).join('')).toBe(inner.decode(ids));
    expect(longest).toBeLessThanOrEqual(32);
  });
});
