import { describe, expect, it } from 'vitest';
import { Random } from '../../random.ts';
import { type Hypothesis, type SearchOptions, TextSearch } from './beam-search.ts';

const vocabulary = 4;
const eos = 3;

/** Logits that depend on the text and on all tokens before, from a seed. */
function logitsAfter(text: number, tokens: readonly number[]): Float32Array {
  let seed = 17 + text;
  for (const token of tokens) seed = (Math.imul(seed, 31) + token + 1) >>> 0;
  const random = new Random(seed);
  return Float32Array.from({ length: vocabulary }, () => 2 * random.normal());
}

function logProbabilities(logits: Float32Array): number[] {
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
  return Array.from(logits, (x) => x - total);
}

/** Every continuation there is, best first. */
function everything(text: number, maxTokens: number, penalty: number): Hypothesis[] {
  const all: Hypothesis[] = [];
  const visit = (tokens: readonly number[], sum: number): void => {
    logProbabilities(logitsAfter(text, tokens)).forEach((p, token) => {
      const length = tokens.length + 1;
      const found = { logProbability: sum + p, score: (sum + p) / length ** penalty };
      if (token === eos) all.push({ ...found, tokens, ended: true });
      else if (length === maxTokens) all.push({ ...found, tokens: [...tokens, token], ended: false });
      else visit([...tokens, token], sum + p);
    });
  };
  visit([], 0);
  return all.sort((a, b) => b.score - a.score);
}

interface Searched extends SearchOptions {
  readonly best?: number;
  readonly eosIds?: readonly number[];
  readonly onStep?: () => void;
}

/** Searches for continuations of one text. */
function searchOne(text: number, beams: number, { best = 1, eosIds = [eos], onStep, ...options }: Searched) {
  const found = new TextSearch(beams, options, new Set(eosIds));
  let rows: readonly (readonly number[])[] = [[]];
  found.advance([logitsAfter(text, [])]);
  while (!found.done) {
    const { parents, lastTokens } = found;
    expect(parents).toHaveLength(lastTokens.length);
    expect(parents.length).toBeLessThanOrEqual(beams);
    rows = parents.map((parent, index) => [...rows[parent], lastTokens[index]]);
    found.advance(rows.map((row) => logitsAfter(text, row)));
    onStep?.();
  }
  return found.finished.slice(0, best);
}

const search = (texts: number, beams: number, options: Searched): Hypothesis[][] =>
  Array.from({ length: texts }, (_, text) => searchOne(text, beams, options));

describe('beam search', () => {
  it.each([-1, 0, 0.6, 1, 2])(
    'finds the best of everything where beams are enough, at a length penalty of %d',
    (lengthPenalty) => {
      const maxTokens = 4;
      const found = search(5, vocabulary ** maxTokens, {
        maxTokens,
        lengthPenalty,
        earlyStopping: 'never',
        best: 9,
      });
      found.forEach((hypotheses, text) => {
        const expected = everything(text, maxTokens, lengthPenalty).slice(0, 9);
        expect(hypotheses.map(({ tokens, ended }) => ({ tokens, ended }))).toEqual(
          expected.map(({ tokens, ended }) => ({ tokens, ended })),
        );
        hypotheses.forEach(({ score }, i) => {
          expect(score).toBeCloseTo(expected[i].score, 5);
        });
      });
    },
  );

  it('is greedy with one beam', () => {
    const found = search(20, 1, { maxTokens: 12 });
    found.forEach(([hypothesis], text) => {
      const tokens: number[] = [];
      for (let ended = false; !ended && tokens.length < 12; ) {
        const logits = logitsAfter(text, tokens);
        const token = logits.indexOf(Math.max(...logits));
        ended = token === eos;
        if (!ended) tokens.push(token);
      }
      expect(hypothesis.tokens, `text ${text}`).toEqual(tokens);
    });
  });

  it('orders what it gives by what it is worth', () => {
    for (const hypotheses of search(8, 3, { maxTokens: 9, best: 3, lengthPenalty: 0 })) {
      expect(hypotheses.map(({ score }) => score)).toEqual(hypotheses.map(({ score }) => score).sort((a, b) => b - a));
    }
  });

  it('stops early when asked to', () => {
    const counted = (earlyStopping: SearchOptions['earlyStopping']): { steps: number; score: number } => {
      let steps = 0;
      const [{ score }] = searchOne(0, 2, { earlyStopping, maxTokens: 30, lengthPenalty: 1, onStep: () => steps++ });
      return { steps, score };
    };
    const [early, usual, never] = [counted(true), counted(false), counted('never')];
    expect(early.steps).toBeLessThanOrEqual(usual.steps);
    expect(usual.steps).toBeLessThanOrEqual(never.steps);
    expect(early.steps).toBeLessThan(never.steps);
    expect(early.score).toBeLessThanOrEqual(never.score);
  });

  it('cuts what does not end, and refuses logits that are no numbers', () => {
    const [cut] = searchOne(0, 2, { eosIds: [], maxTokens: 5 });
    expect(cut).toMatchObject({ ended: false, tokens: { length: 5 } });
    const broken = new TextSearch(2, { maxTokens: 2 }, new Set());
    expect(() => broken.advance([Float32Array.of(Number.NaN, 0)])).toThrow(/logits are not numbers/);
  });
});
