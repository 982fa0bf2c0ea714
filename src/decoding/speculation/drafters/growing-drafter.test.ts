/** Trees of suffixes and recycled tokens: their shape follows frequencies, matches, success and costs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../../test/models/tiny-llama.ts';
import { tinyT5 } from '../../../../test/models/tiny-t5.ts';
import { modelLayout } from '../../../models/graphs/model-layout.ts';
import { SequenceState } from '../../state/sequence-state.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { NgramIndex } from './ngram-index.ts';
import { drafterMakers, LearnedByOwner, LearnedTexts, lookupDrafter, type LookupOptions } from './registry.ts';
import { EarlierTexts } from './suffix-guesser.ts';

const model = tinyLlama([{ kind: 'softmax' }]);
const state = new SequenceState(model, modelLayout(model));
const { suffix, recycle, auto } = drafterMakers;

function propose(drafter: Drafter, tokens: readonly number[], more: Partial<DraftContext> = {}): Promise<Draft> {
  const root = tokens[tokens.length - 1];
  return drafter.propose({ tokens, root, hidden: new Float32Array(0), state, maxDepth: 100, ...more });
}

function pathsOf({ tree, tokens }: Draft): number[][] {
  return tree.leaves().map((leaf) => tree.pathTo(leaf).map((node) => tokens[node]));
}

/** Logits that rank these tokens first, in this order. */
function ranked(...tokens: number[]): Float32Array {
  const logits = new Float32Array(50);
  for (const [rank, token] of tokens.entries()) logits[token] = 10 - rank;
  return logits;
}

const unread = { tokens: new Int32Array(0), logits: [], hidden: [], path: [] };
/** Tokens alone count: nodes cost nothing. */
const free = (_nodes: number, tokens: number): number => tokens;
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe('suffix', () => {
  it('goes on for as long as matches are long, and less far after short ones', async () => {
    const text = range(1, 40);
    const long = await propose(suffix(new LearnedTexts()), [...text, ...range(1, 13)]);
    const short = await propose(suffix(new LearnedTexts()), [...text, 45, 12]);
    expect(pathsOf(long)[0].slice(0, 6)).toEqual([12, 13, 14, 15, 16, 17]);
    expect(long.tree.height).toBeGreaterThanOrEqual(15);
    expect(short.tree.height).toBeLessThan(long.tree.height);
  });

  it('branches where earlier texts did, the most frequent continuation first', async () => {
    const learned = new LearnedTexts();
    for (const last of [8, 9, 9, 8, 9]) learned.earlier.add([1, 2, 3, 4, last, 7]);
    const draft = await propose(suffix(learned), [6, 2, 3, 4]);
    expect(draft.tokens[1]).toBe(9);
    expect(pathsOf(draft).map((path) => path.slice(0, 3))).toEqual(
      expect.arrayContaining([
        [4, 9, 7],
        [4, 8, 7],
      ]),
    );
  });

  it('guesses from the text that the model has read, and not across its end', async () => {
    const { decoder } = tinyT5('softmax');
    const encoded = { tokens: Int32Array.of(11, 12, 13, 14), layers: [] };
    const about = { state: new SequenceState(decoder, modelLayout(decoder), encoded) };
    expect(pathsOf(await propose(suffix(new LearnedTexts()), [5, 12], about))).toEqual([[12, 13, 14]]);
    expect((await propose(suffix(new LearnedTexts()), [5, 6, 14], about)).tree.size).toBe(1);
  });

  it('knows a text once it has ended, its beginning included, and not across its end', async () => {
    const learned = new LearnedTexts();
    const first = suffix(learned);
    await propose(first, [1, 2, 3]);
    await first.accepted?.([4, 5], unread);
    expect((await propose(suffix(learned), [9, 2, 3])).tree.size).toBe(1);
    first.ended?.();
    learned.earlier.add([30, 31]);
    expect(pathsOf(await propose(suffix(learned), [9, 2, 3]))).toEqual([[3, 4, 5]]);
  });

  it('goes on in itself where a text repeats', async () => {
    const draft = await propose(suffix(new LearnedTexts()), [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
    expect(pathsOf(draft)[0].slice(0, 7)).toEqual([2, 1, 2, 1, 2, 1, 2]);
  });

  it('trusts matches less that did not come true', async () => {
    const learned = new LearnedTexts();
    const text = [...range(1, 40), ...range(1, 9)];
    const before = await propose(suffix(learned), text);
    for (let round = 0; round < 60; round++) {
      const drafter = suffix(learned);
      await propose(drafter, text);
      await drafter.accepted?.([49], unread);
    }
    const after = await propose(suffix(learned), text);
    expect(after.tree.size).toBeLessThan(before.tree.size / 2);
  });
});

describe('lookup', () => {
  it('continues as the text did after the longest end that it has seen, then after shorter ones', async () => {
    // 2,3 was followed by 4,9; 3 alone also by 5,6.
    const draft = await propose(lookupDrafter(), [1, 2, 3, 4, 9, 3, 5, 6, 2, 3], { maxDepth: 2, rate: free });
    const [best, next] = pathsOf(draft);
    expect([best, next]).toEqual([
      [3, 4, 9],
      [3, 5, 6],
    ]);
  });

  it('guesses from the text that was read as well as from the text that is generated, the longer match first', async () => {
    const { decoder } = tinyT5('softmax');
    const encoded = { tokens: Int32Array.of(11, 12, 13, 14, 1), layers: [] };
    const about = { state: new SequenceState(decoder, modelLayout(decoder), encoded), maxDepth: 2, rate: free };
    const expected = [
      [13, 14, 1],
      [13, 5, 6],
    ];
    expect(pathsOf(await propose(lookupDrafter(), [0, 13, 5, 6, 12, 13], about))).toEqual(expected);
    const growing = lookupDrafter();
    await propose(growing, [0], about);
    await propose(growing, [0, 13], about);
    expect(pathsOf(await propose(growing, [0, 13, 5, 6, 12, 13], about))).toEqual(expected);
  });

  it('guesses nothing where nothing was seen, or nothing is of use', async () => {
    expect((await propose(lookupDrafter(), [4])).tree.size).toBe(1);
    expect((await propose(lookupDrafter(), [1, 2, 3])).tree.size).toBe(1);
    expect((await propose(lookupDrafter(), [1, 1, 1], { maxDepth: 0 })).tree.size).toBe(1);
    expect((await propose(lookupDrafter(), [1, 1, 1], { maxDepth: 2, rate: free })).tree.height).toBe(2);
  });

  it('stays within its number of nodes', async () => {
    const text = [...range(1, 40), ...range(1, 13)];
    expect((await propose(lookupDrafter({ maxNodes: 8 }), text, { rate: free })).tree.size).toBe(8);
  });

  it('learns nothing for the next text', async () => {
    const { lookup } = drafterMakers;
    const learned = new LearnedTexts();
    const first = lookup(learned);
    await propose(first, range(1, 9));
    await first.accepted?.([9], unread);
    first.ended?.();
    expect((await propose(lookup(learned), [20, 3, 4])).tree.size).toBe(1);
    expect(learned.saved).toBeUndefined();
  });

  it.each<LookupOptions>([{ maxNodes: 0 }, { maxNodes: 1.5 }, { maxNodes: -1 }])('refuses %j', (options) => {
    expect(() => lookupDrafter(options)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});

describe('recycled tokens', () => {
  it('are the likeliest successors of when the model last read a token', async () => {
    const learned = new LearnedTexts();
    const drafter = recycle(learned);
    expect((await propose(drafter, [1])).tree.size).toBe(1);
    const logits = [ranked(4, 5, 6), ranked(7, 8), ranked(9)];
    await drafter.accepted?.([4], { ...unread, tokens: Int32Array.of(1, 4, 7), logits });
    const draft = await propose(recycle(learned), [3, 1]);
    expect(draft.tokens[1]).toBe(4);
    expect(pathsOf(draft)[0].slice(0, 3)).toEqual([1, 4, 7]);
    expect(draft.tree.size).toBeLessThanOrEqual(16);
  });

  it('keep the order of the logits, and no more of them than ranks', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 40 }), (values) => {
        const { successors } = new LearnedTexts();
        successors.learn(0, Float32Array.from(values));
        const best = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b).slice(0, 8);
        expect(successors.after(0).guesses.map(({ token }) => token)).toEqual(best);
      }),
      { seed: 2, numRuns: 200 },
    );
  });

  it('are taken by auto where nothing repeats', async () => {
    const learned = new LearnedTexts();
    learned.successors.learn(3, ranked(4, 5));
    expect((await propose(auto(learned), [1, 2, 3])).tokens[1]).toBe(4);
    expect((await propose(auto(learned), [1, 2, 3, 6, 1, 2, 3])).tokens[1]).toBe(6);
  });
});

describe('trees', () => {
  it('are as large as brings the most tokens a second', async () => {
    const text = [...range(1, 45), ...range(1, 20)];
    const sizeAt = async (cost: number): Promise<number> => {
      const rate = (nodes: number, tokens: number): number => tokens / (1 + cost * (nodes - 1));
      return (await propose(suffix(new LearnedTexts()), text, { rate })).tree.size;
    };
    expect(await sizeAt(0)).toBe(32);
    expect(await sizeAt(1)).toBe(1);
    expect(await sizeAt(0.3)).toBeGreaterThan(1);
  });

  it('stay within the depth that is of use', async () => {
    const draft = await propose(suffix(new LearnedTexts()), [...range(1, 40), ...range(1, 20)], { maxDepth: 3 });
    expect(draft.tree.height).toBe(3);
    expect((await propose(suffix(new LearnedTexts()), [1, 2, 1, 2], { maxDepth: 0 })).tree.size).toBe(1);
  });

  it.each(['lookup', 'auto'] as const)(
    'of %s are the same whether the text came at once or piece by piece',
    async (name) => {
      const token = fc.integer({ min: 0, max: 3 });
      await fc.assert(
        fc.asyncProperty(fc.array(token, { minLength: 1, maxLength: 60 }), async (text) => {
          const growing = drafterMakers[name](new LearnedTexts());
          for (let length = 1; length < text.length; length += 3) await propose(growing, text.slice(0, length));
          const draft = await propose(growing, text);
          const atOnce = await propose(drafterMakers[name](new LearnedTexts()), text);
          expect([...draft.tokens]).toEqual([...atOnce.tokens]);
          const children = Array.from(draft.tokens, (each, node) => `${draft.tree.parents[node]} ${each}`);
          expect(new Set(children).size).toBe(children.length);
        }),
        { seed: 3, numRuns: 60 },
      );
    },
  );
});

describe('memory', () => {
  it('is read in a bounded part, however long the text is', () => {
    const index = new NgramIndex([1, 2, 3]);
    const length = 20_000;
    const text = Array.from({ length }, (_, i) => i % 7);
    index.extend(text);
    let reads = 0;
    const watched = new Proxy(text, {
      get(target, key) {
        reads++;
        return Reflect.get(target, key) as unknown;
      },
    });
    expect(index.occurrences(watched, 3)).toEqual([length - 8, length - 15, length - 22]);
    expect(reads).toBeLessThan(100);
    watched.push(length % 7);
    reads = 0;
    index.extend(watched);
    expect(reads).toBeLessThan(20);
  });

  it('keeps the last tokens, at no more than 100 bytes each, and finds the same as an index of them alone', () => {
    const random = fc.sample(fc.integer({ min: 0, max: 5 }), { seed: 4, numRuns: 3000 });
    const ring = new NgramIndex([1, 2, 4], { most: 512, visits: 600 });
    for (const token of random) ring.push(token);
    const kept = random.slice(-512);
    const alone = new NgramIndex([1, 2, 4], { visits: 600 });
    alone.extend(kept);
    const query = [1, 2, 3, 4];
    const shifted = alone.occurrences(query, 600).map((position) => position + 3000 - 512);
    expect(ring.occurrences(query, 600)).toEqual(shifted);
    const { texts } = new LearnedTexts().earlier;
    for (let count = 0; count < 2 ** 17 + 1000; count++) texts.push(count % 977);
    expect(texts.bytes / 2 ** 17).toBeLessThan(100);
  });

  it('matches no further back than the oldest token that is kept', () => {
    const ring = new NgramIndex([1], { most: 256 });
    ring.extend(range(0, 300));
    expect(ring.matched(44, [299, 44], 2)).toBe(1);
    expect(ring.matched(46, [43, 44, 45, 46], 4)).toBe(3);
  });

  it('counts the last text, and takes one that goes on and on for an earlier one', () => {
    const earlier = new EarlierTexts(1024);
    const before = earlier.bytes;
    earlier.ended({ from: 0, tokens: range(0, 1000) });
    expect([earlier.texts.end, earlier.bytes - before]).toEqual([0, 8000]);
    earlier.ended({ from: 1000, tokens: range(0, 1000) });
    expect(earlier.texts.end).toBe(2002);
    expect(earlier.bytes).toBe(36 * 1024);
  });

  it('of one owner is of no use to another, and that of the least recent goes first', async () => {
    expect(() => new LearnedByOwner(Number.NaN)).toThrow(/maxBytes of learned texts is NaN/);
    const owners = new LearnedByOwner(1 << 20);
    owners.of('a').earlier.add([1, 2, 3, 4, 5]);
    expect((await propose(suffix(owners.of('b')), [1, 2, 3])).tree.size).toBe(1);
    expect((await propose(suffix(owners.of('a')), [1, 2, 3])).tree.size).toBeGreaterThan(1);
    for (let count = 0; count < 200; count++) owners.of(`other ${count}`);
    expect((await propose(suffix(owners.of('a')), [1, 2, 3])).tree.size).toBe(1);
  });
});
