/** Branches of conversations, and conversation files. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/random.ts';
import { mutated } from '../../test/fuzz/mutations.ts';
import { readConversation, writeConversation } from './conversation-file.ts';
import {
  addTurn,
  changeTurn,
  type ConversationTree,
  emptyConversation,
  mergeConversations,
  pathTo,
  shownPath,
  showTurn,
  siblingsOf,
} from './conversation.ts';

const user = (text: string) => ({ author: 'user' as const, text });
const model = (text: string) => ({ author: 'model' as const, text });
const texts = (conversation: ConversationTree) => shownPath(conversation).map(({ text }) => text);

/** A question with two answers; the first is continued. */
function branched(): ConversationTree {
  const asked = addTurn(emptyConversation, undefined, user('a'));
  const first = addTurn(addTurn(asked, 0, model('b')), 1, user('c'));
  return addTurn(first, 0, model('d'));
}

describe('a conversation', () => {
  it('shows the branch that was made last, and the others on demand', () => {
    const conversation = branched();
    expect(texts(conversation)).toEqual(['a', 'd']);
    expect(siblingsOf(conversation, 3).map(({ id }) => id)).toEqual([1, 3]);
    expect(texts(showTurn(conversation, 1))).toEqual(['a', 'b', 'c']);
  });

  it('returns to the turn last shown in a branch', () => {
    const forked = addTurn(branched(), 1, user('e'));
    const earlier = showTurn(forked, 2);
    expect(texts(earlier)).toEqual(['a', 'b', 'c']);
    const elsewhere = showTurn(earlier, 3);
    expect(texts(showTurn(elsewhere, 1))).toEqual(['a', 'b', 'c']);
  });

  it('has alternatives to its first turn', () => {
    const conversation = addTurn(branched(), undefined, user('f'));
    expect(texts(conversation)).toEqual(['f']);
    expect(siblingsOf(conversation, 4).map(({ id }) => id)).toEqual([0, 4]);
    expect(texts(showTurn(conversation, 0))).toEqual(['a', 'd']);
  });

  it('changes one turn and leaves the others as they are', () => {
    const before = branched();
    const after = changeTurn(before, 3, { text: 'g', finish: 'stop' });
    expect(texts(after)).toEqual(['a', 'g']);
    expect(texts(before)).toEqual(['a', 'd']);
    expect(after.turns[0]).toBe(before.turns[0]);
  });

  it('shows a path from a first turn to a last one, whatever is added and shown', () => {
    const steps = fc.array(fc.record({ at: fc.nat(), show: fc.boolean() }), { maxLength: 30 });
    fc.assert(
      fc.property(steps, (list) => {
        let conversation = addTurn(emptyConversation, undefined, user('0'));
        for (const { at, show } of list) {
          const turn = at % conversation.turns.length;
          conversation = show ? showTurn(conversation, turn) : addTurn(conversation, turn, model(String(at)));
          const path = shownPath(conversation);
          expect(path.map(({ id }) => id)).toContain(show ? turn : conversation.turns.length - 1);
          expect(path[0].parent).toBeUndefined();
          expect(conversation.turns.some(({ parent }) => parent === conversation.leaf)).toBe(false);
        }
      }),
      { seed: 1 },
    );
  });
});

describe('two copies of a conversation', () => {
  const merged = mergeConversations;
  const grown = (conversation: ConversationTree, id: number, text: string) => changeTurn(conversation, id, { text });

  it('become one with the turns of both, as branches', () => {
    const common = addTurn(emptyConversation, undefined, user('a'));
    const ours = addTurn(addTurn(common, 0, model('b')), 1, user('c'));
    const theirs = addTurn(addTurn(common, 0, model('x')), 1, user('y'));
    const both = merged(ours, theirs);
    expect(texts(both)).toEqual(['a', 'b', 'c']);
    expect(texts(showTurn(both, siblingsOf(both, 1)[1].id))).toEqual(['a', 'x', 'y']);
    expect(merged(both, theirs)).toBe(both);
    expect(merged(both, ours)).toBe(both);
    // The other tab's turns are shown if they follow the end of this one's, but not past the end of a fork.
    expect(texts(merged(common, ours))).toEqual(['a', 'b', 'c']);
    expect(texts(merged({ ...ours, leaf: 0 }, theirs))).toEqual(['a']);
  });

  it('keep the more complete answer', () => {
    const common = addTurn(addTurn(emptyConversation, undefined, user('a')), 0, model(''));
    const left = changeTurn(grown(common, 1, 'one'), 1, { finish: 'left' });
    const whole = changeTurn(grown(common, 1, 'one two'), 1, { finish: 'stop' });
    expect(merged(left, whole).turns[1]).toMatchObject({ text: 'one two', finish: 'stop' });
    expect(merged(whole, grown(left, 1, 'one two three'))).toBe(whole);
    expect(merged(left, grown(left, 1, 'one t')).turns[1].text).toBe('one t');
    expect(merged(left, common)).toBe(left);
  });

  it('lose nothing, whatever is added where', () => {
    const steps = fc.array(fc.record({ at: fc.nat(), ours: fc.boolean() }), { maxLength: 20 });
    fc.assert(
      fc.property(steps, (list) => {
        let [ours, theirs] = [emptyConversation, emptyConversation];
        for (const [index, { at, ours: isOurs }] of list.entries()) {
          const before = isOurs ? ours : theirs;
          const parent = before.turns.length === 0 ? undefined : at % before.turns.length;
          const after = addTurn(before, parent, user(String(index)));
          if (isOurs) ours = after;
          else theirs = after;
          if (at % 3 === 0) ours = merged(ours, theirs);
        }
        ours = merged(ours, theirs);
        theirs = merged(theirs, ours);
        const paths = ({ turns }: ConversationTree) =>
          turns.map(({ id }) => pathTo({ ...ours, turns }, id).map(({ text }) => text)).sort();
        expect(paths(theirs)).toEqual(paths(ours));
        expect(ours.turns.map(({ text }) => Number(text)).sort((a, b) => a - b)).toEqual(list.map((_, index) => index));
      }),
      { seed: 1 },
    );
  });
});

describe('a file of a conversation', () => {
  it('keeps calls with their results, and refuses results of other calls', () => {
    const calls = [{ id: 'a1', name: 'weather', json: '{"city":"Oslo"}' }];
    const asked = addTurn(emptyConversation, undefined, user('Weather?'));
    const called = changeTurn(addTurn(asked, 0, model('')), 1, { calls, finish: 'calls' });
    const conversation = addTurn(called, 1, { author: 'tool', text: 'rain', results: ['rain'] });
    const written = writeConversation({ conversation, system: '' });
    expect(readConversation(written).conversation.turns).toMatchObject([
      { id: 0, parent: undefined, author: 'user', text: 'Weather?' },
      { id: 1, parent: 0, author: 'model', text: '', calls, finish: 'calls' },
      { id: 2, parent: 1, author: 'tool', text: 'rain', results: ['rain'] },
    ]);
    const uncalled = changeTurn(conversation, 1, { calls: [] });
    expect(() => readConversation(writeConversation({ conversation: uncalled, system: '' }))).toThrow('Turn 3');
  });

  it('leaves out the calls of an answer that was cut', () => {
    const calls = [{ id: 'a1', name: 'weather', json: '{"ci' }];
    const asked = addTurn(emptyConversation, undefined, user('Weather?'));
    const conversation = changeTurn(addTurn(asked, 0, model('')), 1, { calls, finish: 'length' });
    const { turns } = readConversation(writeConversation({ conversation, system: '' })).conversation;
    const { key, ...cut } = turns[1];
    expect(key).not.toBe('');
    expect(cut).toEqual({ id: 1, parent: 0, author: 'model', text: '', finish: 'length' });
  });

  it('keeps the place of a fork', () => {
    const conversation = { ...branched(), leaf: 1 };
    expect(texts(readConversation(writeConversation({ conversation, system: '' })).conversation)).toEqual(['a', 'b']);
  });

  it('keeps thoughts, and how answers ended', () => {
    const asked = addTurn(emptyConversation, undefined, user('Who?'));
    const facts = { thoughts: 'A bird?', finish: 'left' } as const;
    const conversation = changeTurn(addTurn(asked, 0, model('A lin')), 1, facts);
    const read = readConversation(writeConversation({ conversation, system: '' }));
    expect(read.conversation.turns).toEqual(conversation.turns);
  });

  it('brings back the turns, the branch shown, and the system prompt', () => {
    const conversation = showTurn(branched(), 1);
    const { conversation: read, system } = readConversation(writeConversation({ conversation, system: 'Be brief.' }));
    expect(system).toBe('Be brief.');
    expect(texts(read)).toEqual(['a', 'b', 'c']);
    expect(read.turns).toEqual(conversation.turns);
  });

  it.each([
    ['{', 'not JSON'],
    ['{"turns": []}', 'not a conversation'],
    ['{"format":"linnet-conversation","version":1,"turns":[{"author":"user","text":"a","parent":0}]}', 'Turn 1'],
    [
      '{"format":"linnet-conversation","version":1,"turns":[{"author":"user","text":"a"},{"author":"user","text":"b","parent":null}]}',
      'Turn 2',
    ],
    ['{"format":"linnet-conversation","version":1,"turns":[{"author":"dog","text":"a"}]}', 'Turn 1'],
    ['{"format":"linnet-conversation","version":1,"turns":[{"author":"user","text":1}]}', 'Turn 1'],
    [
      '{"format":"linnet-conversation","version":1,"turns":[{"author":"user","text":"a","key":"x"},{"author":"user","text":"bc","key":"x","parent":0}]}',
      'Turn 2 of the file appears twice',
    ],
    [
      JSON.stringify({
        format: 'linnet-conversation',
        version: 1,
        turns: Array(10_001).fill({ author: 'user', text: '' }),
      }),
      'more than 10000 turns',
    ],
  ])('is refused as %s', (text, message) => {
    expect(() => readConversation(text)).toThrow(message);
  });

  it('is refused with a reason or holds together, whatever is in it', () => {
    const call = { id: 'c', name: 'f', json: '{}' };
    const asked = addTurn(emptyConversation, undefined, user('a'));
    const called = changeTurn(addTurn(asked, 0, model('b')), 1, { finish: 'calls', calls: [call] });
    const whole = addTurn(called, 1, { author: 'tool', text: '', results: ['5'] });
    const samples = [whole, branched()].map((conversation) =>
      Buffer.from(writeConversation({ conversation, system: 'Be.' })),
    );
    const random = new Random(5);
    let held = 0;
    for (let i = 0; i < 3000; i++) {
      const text = mutated(samples, 'json', random).toString();
      let conversation: ConversationTree;
      try {
        ({ conversation } = readConversation(text));
      } catch (error) {
        expect(String(error), text).toMatch(/^Error: (The file|Turn \d+ of the file) /);
        continue;
      }
      held++;
      const again = readConversation(writeConversation({ conversation, system: '' })).conversation;
      expect(texts(again)).toEqual(texts(conversation));
      for (const merged of [mergeConversations(conversation, again), mergeConversations(emptyConversation, again)]) {
        for (const { id, parent } of merged.turns) expect(parent ?? -1).toBeLessThan(id);
      }
    }
    expect(held).toBeGreaterThan(100);
  });

  it('keeps of a call what calls have, so that no other nested value is written again', () => {
    const call = { id: 'c', name: 'f', json: '{}' };
    const turns = [{ author: 'model', text: '', finish: 'calls', calls: [{ ...call, more: [[[]]] }] }];
    const file = JSON.stringify({ format: 'linnet-conversation', version: 1, turns });
    expect(readConversation(file).conversation.turns[0].calls).toEqual([call]);
  });

  it('shows nothing if its branch is missing', () => {
    const text = '{"format":"linnet-conversation","version":1,"leaf":7,"turns":[{"author":"user","text":"a"}]}';
    expect(readConversation(text).conversation.leaf).toBeUndefined();
  });
});
