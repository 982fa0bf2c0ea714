import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { errorCode } from '../error-code.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { cutAtStops, rollingWindows, scoredSequence } from '../../src/engine/scoring/token-sequences.ts';
import { childrenOf, commonPrefix, tokenTrie } from '../../src/engine/scoring/sequence-scorer.ts';

/** Pieces by a pattern, numbered as they are met. */
function toyTokenizer(pattern: RegExp, bosId?: number): Tokenizer & { pieces(ids: readonly number[]): string[] } {
  const ids = new Map<string, number>();
  const names: string[] = [];
  return {
    vocabularySize: 1000,
    ...(bosId !== undefined && { bosId }),
    eosId: 999,
    specialIds: new Set([999]),
    encode(text, { bos = false } = {}) {
      const pieces = (text.match(pattern) ?? []).map((piece) => {
        if (!ids.has(piece)) ids.set(piece, names.push(piece) - 1);
        return ids.get(piece) ?? -1;
      });
      return Int32Array.from([...(bos && bosId !== undefined ? [bosId] : []), ...pieces]);
    },
    decode: (given) => Array.from(given, (id) => names[id] ?? '').join(''),
    pieces: (given) => given.map((id) => names[id] ?? `<${id}>`),
  };
}

const words = / ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+/g;
const fixture = thirdParty('evaluation/golden/api_local_completions.json');
const schema = z.object({
  encode_pair: z.array(
    z.object({
      context: z.string(),
      continuation: z.string(),
      context_pieces: z.array(z.string()),
      continuation_pieces: z.array(z.string()),
    }),
  ),
  rolling_windows: z.array(
    z.object({
      tokens: z.array(z.number()),
      prefix_token: z.number(),
      max_seq_len: z.number(),
      context_len: z.number(),
      disjoint: z.array(z.tuple([z.array(z.number()), z.array(z.number())])),
    }),
  ),
});

describe.skipIf(fixture === undefined)('golden sequences (need the third-party fixtures)', () => {
  const golden = schema.parse(
    fixture === undefined ? { encode_pair: [], rolling_windows: [] } : JSON.parse(readFileSync(fixture, 'utf8')),
  );
  it.each(golden.encode_pair)('$context + $continuation', (pair) => {
    const tokenizer = toyTokenizer(words);
    const { tokens, scored } = scoredSequence(tokenizer, pair, { bos: false, maxLength: 100 });
    const pieces = tokenizer.pieces(tokens);
    const context = pair.context_pieces.length === 0 ? ['<999>'] : pair.context_pieces;
    expect(pieces).toEqual([...context, ...pair.continuation_pieces]);
    expect(pieces.slice(-scored)).toEqual(pair.continuation_pieces);
  });

  // Windows overlap by one token; the harness can do with more, and never does.
  it.each(golden.rolling_windows.filter(({ context_len: overlap }) => overlap === 1))(
    'windows of $max_seq_len over $tokens',
    (item) => {
      const windows = rollingWindows(item.tokens, item.prefix_token, item.max_seq_len);
      const sides = windows.map(({ tokens, scored }) => [tokens.slice(0, -scored), tokens.slice(-scored)]);
      expect(sides).toEqual(item.disjoint);
    },
  );
});

describe('sequences', () => {
  it('begin with BOS where it is asked for, and lose their beginning where they are too long', () => {
    const tokenizer = toyTokenizer(words, 7);
    const pair = { context: 'a b c d', continuation: ' e f' };
    expect(scoredSequence(tokenizer, pair, { bos: true, maxLength: 100 }).tokens).toHaveLength(7);
    expect(tokenizer.pieces(scoredSequence(tokenizer, pair, { bos: true, maxLength: 3 }).tokens)).toEqual([
      ...[' c', ' d', ' e', ' f'],
    ]);
  });

  it('refuse continuations without a token, and those that the model cannot read', async () => {
    const tokenizer = toyTokenizer(words);
    const score = (continuation: string, maxLength: number) => () =>
      scoredSequence(tokenizer, { context: 'a', continuation }, { bos: false, maxLength });
    expect(await errorCode(score('', 9))).toBe('INPUT');
    expect(await errorCode(score(' b c d', 2))).toBe('INPUT');
  });

  it('answers end before each stop string in turn', () => {
    expect(cutAtStops('yes\n\nQ: no', ['Q', '\n\n', ''])).toBe('yes');
    expect(cutAtStops('', ['Q'])).toBe('');
  });
});

describe('the trie', () => {
  it('has one node per token that is read, and a subtree is a range', () => {
    const sequences = [
      { tokens: [1, 2, 3, 4], scored: 2 },
      { tokens: [1, 2, 3, 5], scored: 1 },
      { tokens: [1, 9], scored: 1 },
      { tokens: [1, 2, 6, 7], scored: 1 },
    ];
    const trie = tokenTrie(sequences, 0);
    expect(trie.tokens).toEqual([1, 2, 3, 6]);
    expect(trie.parents).toEqual([-1, 0, 1, 1]);
    expect(trie.ends).toEqual([4, 4, 3, 4]);
    expect(trie.predictions[0]).toEqual([{ sequence: 2, token: 9 }]);
    expect(trie.predictions[1]).toEqual([{ sequence: 0, token: 3 }]);
    expect(trie.predictions[2]).toEqual([
      { sequence: 0, token: 4 },
      { sequence: 1, token: 5 },
    ]);
    expect(childrenOf(trie, 1)).toEqual([2, 3]);
    expect(commonPrefix(sequences.map(({ tokens }) => tokens))).toBe(1);
  });
});
