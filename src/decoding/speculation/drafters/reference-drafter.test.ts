import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../../test/models/tiny-llama.ts';
import { modelLayout } from '../../../models/graphs/model-layout.ts';
import { SequenceState } from '../../state/sequence-state.ts';
import { ReferenceDrafter } from './reference-drafter.ts';

const model = tinyLlama([{ kind: 'softmax' }]);
const state = new SequenceState(model, modelLayout(model));
const context = { tokens: [0, 1], root: 1, hidden: new Float32Array(0), state, maxDepth: 100 };

describe('ReferenceDrafter', () => {
  it.each([2, 3, 8, 64])('ends with %i tokens to choose from, and repeats none beneath a node', async (vocabulary) => {
    const drafter = new ReferenceDrafter([0, 1, 0, 1, 1, 0], vocabulary, { hitRate: 0.5, seed: 3 });
    for (let round = 0; round < 20; round++) {
      const { tree, tokens } = await drafter.propose(context);
      const edges = [...tree.parents].slice(1).map((parent, i) => `${parent} ${tokens[i + 1]}`);
      expect(new Set(edges).size).toBe(edges.length);
    }
  });

  it('refuses a tree that needs more wrong tokens than there are', () => {
    const paths = [[0], [1], [2]];
    expect(() => new ReferenceDrafter([], 3, { paths })).toThrow(/3 children/);
    expect(() => new ReferenceDrafter([], 4, { paths })).not.toThrow();
  });
});
