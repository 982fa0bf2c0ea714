/** Log-probabilities: their numbers, and when they are given out. */
import { describe, expect, it } from 'vitest';
import { letters } from '../../../test/models/letters.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { ScoreStream, scoreToken } from './scores.ts';
import { TokenPieces } from './token-pieces.ts';

describe('scores', () => {
  it('are logarithms of probabilities, the most probable first, lower ids first among equals', () => {
    const logits = Float32Array.from([0, Math.log(4), 0, Math.log(2)]);
    const { logprob, top } = scoreToken(logits, 2, 3);
    expect([0, 1, 2, 3].map((token) => scoreToken(logits, token, 0).rank)).toEqual([3, 1, 4, 2]);
    expect(top.map(({ token }) => token)).toEqual([1, 3, 0]);
    expect(top[0].logprob).toBeCloseTo(Math.log(0.5), 6);
    expect(logprob).toBe(top[2].logprob);
    expect(scoreToken(logits, 1, 0).top).toEqual([]);
  });

  it('wait for the text of their tokens, and end before a stop string', () => {
    const stream = new ScoreStream(letters, []);
    const score = (token: number) => ({ token, logprob: -1, rank: 1, top: [] });
    for (const token of [1, 2, 3, 4]) stream.push(score(token));
    expect(stream.take(2).map(({ token, offset }) => [token, offset])).toEqual([
      [1, 0],
      [2, 1],
    ]);
    expect(stream.take(0)).toEqual([]);
    expect(stream.take(1)).toHaveLength(1);
    expect(stream.finish(true)).toEqual([]);
    stream.push(score(5));
    expect(stream.finish(false).map(({ token }) => token)).toEqual([5]);
  });

  it('name tokens by their text, and parts of characters by their ids', () => {
    const pieces = new TokenPieces(byteTokenizer());
    expect([pieces.of(98), pieces.of(0xe2)]).toEqual(['b', 'token_id:226']);
    expect([pieces.bytesOf(98), pieces.bytesOf(0xe2)]).toEqual([[98], [226]]);
  });
});
