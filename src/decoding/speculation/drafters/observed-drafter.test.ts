import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../../test/models/tiny-llama.ts';
import { TokenTree } from '../../../attention/tree.ts';
import { modelLayout } from '../../../models/graphs/model-layout.ts';
import { SequenceState } from '../../state/sequence-state.ts';
import type { DraftContext, Drafter } from './drafter.ts';
import { ObservedDrafter, type PathAcceptance, sumAcceptance } from './observed-drafter.ts';

const model = tinyLlama([{ kind: 'softmax' }]);
const state = new SequenceState(model, modelLayout(model));
const context = (maxDepth: number): DraftContext => ({
  tokens: [7],
  root: 7,
  hidden: new Float32Array(0),
  state,
  maxDepth,
});

const unread = { tokens: new Int32Array(0), logits: [] };

/** 7 → (1 → (3, 4), 2). */
function makeDrafter(): { drafter: Drafter; reported: (readonly number[])[] } {
  const reported: (readonly number[])[] = [];
  const drafter: Drafter = {
    name: 'fixed',
    propose: () => Promise.resolve({ tree: new TokenTree([-1, 0, 0, 1, 1]), tokens: Int32Array.from([7, 1, 2, 3, 4]) }),
    accepted: (tokens) => {
      reported.push(tokens);
    },
  };
  return { drafter, reported };
}

function counts(acceptance: readonly PathAcceptance[]): Record<string, string> {
  return Object.fromEntries(acceptance.map((each) => [each.path.join(','), `${each.accepted}/${each.offered}`]));
}

describe('ObservedDrafter', () => {
  it('counts by rank what was offered, and what became text', async () => {
    const observed = new ObservedDrafter(makeDrafter().drafter);
    for (const tokens of [[1, 4, 9], [2, 9], [9]]) {
      await observed.propose(context(5));
      await observed.accepted(tokens, unread);
    }
    expect(counts(observed.acceptance)).toEqual({ '0': '1/3', '1': '1/3', '0,0': '0/3', '0,1': '1/3' });
  });

  it('does not count the token after the accepted ones, which is the model’s own, nor nodes that are cut off', async () => {
    const observed = new ObservedDrafter(makeDrafter().drafter);
    await observed.propose(context(1));
    await observed.accepted([1, 4], unread);
    expect(counts(observed.acceptance)).toEqual({ '0': '1/1', '1': '0/1' });
    await observed.accepted([1, 4, 9], unread); // no draft is open: a step that was not speculated
    expect(counts(observed.acceptance)).toEqual({ '0': '1/1', '1': '0/1' });
  });

  it('is otherwise the drafter that it watches', async () => {
    const { drafter, reported } = makeDrafter();
    const observed = new ObservedDrafter(drafter);
    expect(observed.name).toBe('fixed');
    expect([...(await observed.propose(context(5))).tokens]).toEqual([7, 1, 2, 3, 4]);
    await observed.accepted([1, 9], unread);
    expect(reported).toEqual([[1, 9]]);
  });
});

describe('sumAcceptance', () => {
  it('adds up by place, parents before children, the most offered first', () => {
    const rows = [
      { path: [0, 0], offered: 2, accepted: 1 },
      { path: [0], offered: 2, accepted: 2 },
      { path: [1], offered: 1, accepted: 0 },
    ];
    expect(sumAcceptance([rows, rows.slice(1, 2)])).toEqual([
      { path: [0], offered: 4, accepted: 4 },
      { path: [0, 0], offered: 2, accepted: 1 },
      { path: [1], offered: 1, accepted: 0 },
    ]);
    expect(sumAcceptance([rows.slice(0, 2)]).map(({ path }) => path)).toEqual([[0], [0, 0]]);
  });
});
