import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../../test/models/tiny-llama.ts';
import { tinyT5 } from '../../../../test/models/tiny-t5.ts';
import { modelLayout } from '../../../models/graphs/model-layout.ts';
import { SequenceState } from '../../state/sequence-state.ts';
import type { Draft } from './drafter.ts';
import { LookupDrafter, type LookupOptions } from './lookup-drafter.ts';
import { NgramIndex } from './ngram-index.ts';

const model = tinyLlama([{ kind: 'softmax' }]);
const state = new SequenceState(model, modelLayout(model));

/** The state of a text about another, which is looked up too. */
function stateAbout(source: readonly number[]): SequenceState {
  const { decoder } = tinyT5('softmax');
  return new SequenceState(decoder, modelLayout(decoder), { tokens: Int32Array.from(source), layers: [] });
}

function proposeAbout(drafter: LookupDrafter, source: readonly number[], tokens: readonly number[]): Promise<Draft> {
  const root = tokens[tokens.length - 1];
  return drafter.propose({ tokens, root, hidden: new Float32Array(0), state: stateAbout(source), maxDepth: 100 });
}

function propose(drafter: LookupDrafter, tokens: readonly number[], maxDepth = 100): Promise<Draft> {
  return drafter.propose({ tokens, root: tokens[tokens.length - 1], hidden: new Float32Array(0), state, maxDepth });
}

/** Tokens along the path to every leaf. */
function pathsOf({ tree, tokens }: Draft): number[][] {
  return tree.leaves().map((leaf) => tree.pathTo(leaf).map((node) => tokens[node]));
}

describe('prompt lookup', () => {
  it('continues as the text did after the longest end that it has seen, then after shorter ones', async () => {
    //             0  1  2  3  4  5  6  7  8  9
    const tokens = [1, 2, 3, 4, 9, 3, 5, 6, 2, 3];
    const drafter = new LookupDrafter({ depth: 2 });
    // 2,3 was followed by 4,9; 3 alone also by 5,6.
    expect(pathsOf(await propose(drafter, tokens))).toEqual([
      [3, 4, 9],
      [3, 5, 6],
    ]);
  });

  it('goes on repeating where the text repeats itself', async () => {
    const drafter = new LookupDrafter({ depth: 7, branches: 1 });
    expect(pathsOf(await propose(drafter, [5, 7, 8, 7, 8]))).toEqual([[8, 7, 8, 7, 8, 7, 8, 7]]);
  });

  it('guesses from the text that was read, up to its end, as well as from the text that is generated', async () => {
    const source = [11, 12, 13, 14, 1];
    expect(pathsOf(await proposeAbout(new LookupDrafter(), source, [0, 12]))).toEqual([[12, 13, 14, 1]]);
    expect(pathsOf(await proposeAbout(new LookupDrafter(), source, [0, 14]))).toEqual([[14, 1]]);
    // The generated text does not follow the text that was read.
    expect((await proposeAbout(new LookupDrafter(), source, [0, 1])).tree.size).toBe(1);
    // The longer match is first, of equal ones the later.
    expect(pathsOf(await proposeAbout(new LookupDrafter({ depth: 2 }), source, [0, 13, 5, 6, 12, 13]))).toEqual([
      [13, 14, 1],
      [13, 5, 6],
    ]);
    const growing = new LookupDrafter({ depth: 2 });
    await proposeAbout(growing, source, [0]);
    await proposeAbout(growing, source, [0, 13]);
    expect(pathsOf(await proposeAbout(growing, source, [0, 13, 5, 6, 12, 13]))).toEqual([
      [13, 14, 1],
      [13, 5, 6],
    ]);
  });

  it('guesses nothing where nothing was seen, or nothing is of use', async () => {
    expect((await propose(new LookupDrafter(), [4])).tree.size).toBe(1);
    expect((await propose(new LookupDrafter(), [1, 2, 3])).tree.size).toBe(1);
    expect((await propose(new LookupDrafter({ shortest: 2 }), [1, 2, 3, 1])).tree.size).toBe(1);
    expect((await propose(new LookupDrafter(), [1, 1, 1], 0)).tree.size).toBe(1);
    expect((await propose(new LookupDrafter(), [1, 1, 1], 2)).tree.height).toBe(2);
  });

  it('stays within its number of nodes', async () => {
    const tokens = Array.from({ length: 60 }, (_, i) => (i % 4 === 0 ? 1 : 2 + ((i * i) % 23)));
    const draft = await propose(new LookupDrafter({ branches: 10, depth: 10, maxNodes: 9 }), [...tokens, 1]);
    expect(draft.tree.size).toBe(9);
  });

  it('gives the same drafts whether the text came at once or token by token', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 80 }), async (tokens) => {
        const growing = new LookupDrafter();
        let draft = await propose(growing, tokens.slice(0, 1));
        for (let length = 2; length <= tokens.length; length++) draft = await propose(growing, tokens.slice(0, length));
        const atOnce = await propose(new LookupDrafter(), tokens);
        expect([...draft.tokens]).toEqual([...atOnce.tokens]);
        expect([...draft.tree.parents]).toEqual([...atOnce.tree.parents]);
      }),
      { seed: 1, numRuns: 100 },
    );
  });

  it('looks at a bounded part of the text, however long it is', () => {
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

  it.each<LookupOptions>([{ longest: 2, shortest: 3 }, { depth: 0 }, { branches: 1.5 }, { maxNodes: -1 }])(
    'refuses %j',
    (options) => {
      expect(() => new LookupDrafter(options)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    },
  );
});
