import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, goldenNumbers, readGolden } from '../parity/golden.ts';
import { tinyLlama } from '../models/tiny-llama.ts';
import { modelLayout } from '../../src/models/graphs/model-layout.ts';
import { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import type { DraftContext, Drafter } from '../../src/decoding/speculation/drafters/drafter.ts';
import {
  type HeadPredictions,
  MedusaDrafter,
  defaultTreePaths,
  medusaDrafters,
} from '../../src/decoding/speculation/drafters/medusa-drafter.ts';

const buffers = goldenConfig(
  'medusa_buffers',
  z.object({ topk: z.int(), trees: z.record(z.string(), z.object({ choices: z.array(z.array(z.int())) })) }),
);

/** A context in which only root and hidden state matter. */
function contextOf(root: number): DraftContext {
  const model = tinyLlama([{ kind: 'softmax' }]);
  const state = new SequenceState(model, modelLayout(model));
  return { tokens: [root], root, hidden: new Float32Array(4), state, maxDepth: 100 };
}

/** Heads whose token of a rank is its place in Medusa's vector [root, first 10 of head 1, first 10 of head 2, …]. */
function placeHeads(count: number): HeadPredictions {
  return {
    count,
    topK: (_, k) =>
      Promise.resolve(
        Array.from({ length: count }, (_, head) => Int32Array.from({ length: k }, (_, rank) => 1 + 10 * head + rank)),
      ),
  };
}

describe('the Medusa drafter', () => {
  it.each(Object.entries(buffers.trees))('makes the buffers of the tree %s', async (name, { choices }) => {
    const io = readGolden('medusa_buffers');
    const depth = Math.max(...choices.map((path) => path.length));
    const drafter = new MedusaDrafter(placeHeads(depth), choices);
    const { tree, tokens } = await drafter.propose(contextOf(0));
    expect([...tokens]).toEqual([...goldenNumbers(io, `${name}.tree_indices`)]);
    expect([...tree.depths]).toEqual([...goldenNumbers(io, `${name}.position_ids`)]);
    expect([...tree.ancestors]).toEqual([...goldenNumbers(io, `${name}.attention_mask`)]);
    // Medusa lists the paths to the leaves from the last leaf to the first, padded with −1 to the height.
    const rows = tree
      .leaves()
      .reverse()
      .map((leaf) => Array.from({ length: tree.height + 1 }, (_, i) => tree.pathTo(leaf)[i] ?? -1));
    expect(rows.flat()).toEqual([...goldenNumbers(io, `${name}.retrieve_indices`)]);
  });

  it('has the default tree by default, cut to the number of heads', async () => {
    const sorted = (paths: readonly (readonly number[])[]): string[] => paths.map((path) => path.join(',')).sort();
    expect(sorted(defaultTreePaths())).toEqual(sorted(buffers.trees.mc_sim_7b_63.choices));
    const { tree } = await new MedusaDrafter(placeHeads(4)).propose(contextOf(7));
    expect([tree.size, tree.leaves().length, tree.height]).toEqual([64, 42, 4]);
    expect(new MedusaDrafter(placeHeads(2)).ranked.tree.size).toBe(39);
  });

  it('asks for no more ranks than the tree has', async () => {
    const asked: number[] = [];
    const heads: HeadPredictions = {
      count: 2,
      topK: (_, k) => {
        asked.push(k);
        return placeHeads(2).topK(new Float32Array(0), k);
      },
    };
    const { tokens } = await new MedusaDrafter(heads, [[0], [2], [2, 1]]).propose(contextOf(99));
    expect(asked).toEqual([3]);
    expect([...tokens]).toEqual([99, 1, 3, 12]);
  });

  it('refuses trees that are deeper than there are heads', () => {
    expect(() => new MedusaDrafter(placeHeads(1), [[0], [0, 0]])).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(() => new MedusaDrafter(placeHeads(2), [[0, 0]])).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});

describe('a growing tree', () => {
  const unread = { tokens: new Int32Array(0), logits: [], hidden: [], path: [] };
  /** Tokens alone count: nodes cost nothing. */
  const free = (_nodes: number, tokens: number): number => tokens;
  const pathsOf = async (drafter: Drafter, more: Partial<DraftContext> = {}): Promise<string[]> => {
    const { tree, tokens } = await drafter.propose({ ...contextOf(0), ...more });
    return tree.leaves().map((leaf) =>
      tree
        .pathTo(leaf)
        .map((node) => tokens[node])
        .join(' '),
    );
  };

  it('has a level for each head, and the likeliest guesses of a head first', async () => {
    const { tree, tokens } = await medusaDrafters(placeHeads(3))().propose({ ...contextOf(0), rate: free });
    expect(tree.height).toBe(3);
    expect([...tokens.subarray(0, 4)]).toEqual([0, 1, 11, 21]);
  });

  it('follows the ranks that come true, in the texts after it too', async () => {
    const start = medusaDrafters(placeHeads(2));
    expect((await pathsOf(start()))[0]).toBe('0 1 11');
    const first = start();
    for (let round = 0; round < 200; round++) {
      await pathsOf(first, { rate: free });
      await first.accepted?.([4, 13], unread); // rank 3 of the first head, rank 2 of the second
    }
    expect(await pathsOf(start())).toEqual(['0 4 13']);
  });

  it('is a root alone where guesses fail', async () => {
    const drafter = medusaDrafters(placeHeads(2))();
    for (let round = 0; round < 400; round++) {
      await pathsOf(drafter, { rate: free });
      await drafter.accepted?.([99], unread);
    }
    expect(await pathsOf(drafter)).toEqual(['0']);
  });
});
