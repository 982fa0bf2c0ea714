import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteCharacters, byteLevelSplit } from './byte-level.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { PairQueue, trainBpe } from './train-bpe.ts';

function mergesOf(files: ReturnType<typeof trainBpe>): unknown {
  return (files.tokenizerJson.model as { merges: unknown }).merges;
}

/** The definition: count every pair of every word anew before each merge. */
function naiveMerges(documents: readonly string[], merges: number, minFrequency: number): [string, string][] {
  const characters = byteCharacters();
  const rank = new Map([...characters].sort().map((character, index) => [character, index]));
  const order = (token: string): number => rank.get(token) ?? Number.NaN;
  let words = documents.flatMap((text) =>
    (text.match(byteLevelSplit) ?? []).map((word) => [...new TextEncoder().encode(word)].map((b) => characters[b])),
  );
  const result: [string, string][] = [];
  while (rank.size < 256 + merges) {
    const counts = new Map<string, { pair: [string, string]; count: number }>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const key = `${word[i - 1]} ${word[i]}`;
        const entry = counts.get(key) ?? { pair: [word[i - 1], word[i]], count: 0 };
        entry.count++;
        counts.set(key, entry);
      }
    }
    const [best] = [...counts.values()].sort(
      (a, b) => b.count - a.count || order(a.pair[0]) - order(b.pair[0]) || order(a.pair[1]) - order(b.pair[1]),
    );
    if (best === undefined || best.count < minFrequency) break;
    const [left, right] = best.pair;
    result.push(best.pair);
    if (!rank.has(left + right)) rank.set(left + right, rank.size);
    words = words.map((word) => {
      const merged: string[] = [];
      for (let i = 0; i < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) merged.push(left + word[++i]);
        else merged.push(word[i]);
      }
      return merged;
    });
  }
  return result;
}

const story =
  'The cat sat on the mat. The cat saw the rat and the rat saw the cat; then they ran, ran, ran to the attic.\n' +
  "It's a catastrophe, isn't it? They'll never catch that rat, thought the cat on the mat.\n";

describe('trainBpe', () => {
  it('merges as the reference trainer does', () => {
    const documents = [story, story.toUpperCase(), 'aaaaaaa aaaa aaa', 'ababab abcabc bcbc'];
    for (const minFrequency of [1, 2, 4]) {
      const merges = mergesOf(trainBpe(documents, { vocabularySize: 258 + 120, minFrequency }));
      expect(merges).toEqual(naiveMerges(documents, 120, minFrequency));
    }
  });

  it('merges as the reference trainer does on random words', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'é'), minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 12 }), (words) => {
        const documents = [words.join(' ')];
        const merges = mergesOf(trainBpe(documents, { vocabularySize: 258 + 40, minFrequency: 1 }));
        expect(merges).toEqual(naiveMerges(documents, 40, 1));
      }),
      { seed: 8, numRuns: 200 },
    );
  });

  it('is deterministic', () => {
    const options = { vocabularySize: 320 } as const;
    expect(JSON.stringify(trainBpe([story], options))).toBe(JSON.stringify(trainBpe([story], options)));
  });

  it('round-trips odd text', () => {
    const tokenizer = huggingFaceTokenizer(trainBpe([story], { vocabularySize: 320 }));
    const odd = [
      '😀👍🏽 日本語 ελληνικά עברית',
      '\n\n\ttabs\r\n  spaces   end ',
      "don't we'll </s> <s>",
      '\ufeff\u0000\u0085\u00a0\u2028',
      '٣٤ 12,345.67%',
      '',
    ];
    for (const text of odd) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { seed: 9 },
    );
  });

  it('compresses what it was trained on', () => {
    const tokenizer = huggingFaceTokenizer(trainBpe([story], { vocabularySize: 340 }));
    const bytes = new TextEncoder().encode(story).length;
    expect(tokenizer.encode(story).length).toBeLessThan(bytes / 2);
    expect([...tokenizer.encode(' the cat')].map((id) => tokenizer.decode([id]))).toEqual([' the', ' cat']);
  });

  it('gives the special tokens the first ids and every byte a token', () => {
    const files = trainBpe([], { vocabularySize: 300, specialTokens: ['<|bos|>', '<|eos|>', '<|pad|>'] });
    const tokenizer = huggingFaceTokenizer(files);
    expect(tokenizer).toMatchObject({ vocabularySize: 259, bosId: 0, eosId: 1 });
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
    expect([...tokenizer.encode('<|pad|>')].some((id) => tokenizer.specialIds.has(id))).toBe(false);
  });

  it('reports progress up to the last merge', () => {
    const seen: number[] = [];
    trainBpe([story], { vocabularySize: 258 + 10, onProgress: ({ merges }) => seen.push(merges) });
    expect(seen.at(-1)).toBe(10);
  });

  it.each([
    { vocabularySize: 257 },
    { vocabularySize: 300.5 },
    { vocabularySize: 2_000_000 },
    { vocabularySize: 300, minFrequency: 0 },
    { vocabularySize: 300, specialTokens: ['<s>', '<s>'] as const },
    { vocabularySize: 300, specialTokens: ['<s>', ''] as const },
    { vocabularySize: 300, specialTokens: ['<s>', 'a'] as const },
  ])('refuses %j', (options) => {
    expect(() => trainBpe([story], options)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});

describe('PairQueue', () => {
  it('gives the highest count first and of equal counts the smallest pair', () => {
    const entry = fc.record({ count: fc.nat(5), pair: fc.nat(5) });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
        const queue = new PairQueue();
        for (const item of entries) queue.push(item);
        const popped = entries.map(() => queue.pop());
        expect(popped).toEqual([...entries].sort((a, b) => b.count - a.count || a.pair - b.pair));
        expect(queue.pop()).toBeUndefined();
      }),
      { seed: 10 },
    );
  });
});
