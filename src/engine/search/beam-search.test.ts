import { describe, expect, it } from 'vitest';
import { Random } from '../../random.ts';
import { type BeamOptions, type BeamScorer, beamSearch, type Hypothesis } from './beam-search.ts';

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

/** A scorer that remembers what each hypothesis has read, and that checks what it is reported. */
function scorer(texts: number, beams: number): BeamScorer {
  let rows = Array.from({ length: texts }, (_, text) =>
    Array.from({ length: beams }, () => ({ text, tokens: new Array<number>() })),
  ).flat();
  return {
    texts,
    beams,
    first: () => Promise.resolve(Array.from({ length: texts }, (_, text) => logitsAfter(text, []))),
    next(kept, parents, tokens) {
      expect(parents).toHaveLength(kept.length * beams);
      rows = parents.map((parent, i) => {
        expect(Math.floor(parent / beams)).toBe(kept[Math.floor(i / beams)]);
        return { text: rows[parent].text, tokens: [...rows[parent].tokens, tokens[i]] };
      });
      return Promise.resolve(rows.map(({ text, tokens: read }) => logitsAfter(text, read)));
    },
  };
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

const search = (texts: number, beams: number, options: Omit<BeamOptions, 'eosIds'>): Promise<Hypothesis[][]> =>
  beamSearch(scorer(texts, beams), { eosIds: [eos], ...options });

describe('beam search', () => {
  it.each([-1, 0, 0.6, 1, 2])(
    'finds the best of everything where beams are enough, at a length penalty of %d',
    async (lengthPenalty) => {
      const maxTokens = 4;
      const found = await search(5, vocabulary ** maxTokens, {
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

  it('is greedy with one beam', async () => {
    const found = await search(20, 1, { maxTokens: 12 });
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

  it('gives a text among others what it gives the text alone, and never less than greedily chosen ones are worth', async () => {
    const found = await search(8, 3, { maxTokens: 9, best: 3, lengthPenalty: 0 });
    for (const [text, hypotheses] of found.entries()) {
      const moved: BeamScorer = scorer(text + 1, 3);
      const alone = (await beamSearch(moved, { eosIds: [eos], maxTokens: 9, best: 3, lengthPenalty: 0 }))[text];
      expect(hypotheses).toEqual(alone);
      expect(hypotheses.map(({ score }) => score)).toEqual(hypotheses.map(({ score }) => score).sort((a, b) => b - a));
    }
  });

  it('stops early when asked to', async () => {
    const counted = async (earlyStopping: BeamOptions['earlyStopping']): Promise<{ steps: number; score: number }> => {
      const inner = scorer(1, 2);
      let steps = 0;
      const counting = {
        ...inner,
        next: (...given: Parameters<BeamScorer['next']>) => (steps++, inner.next(...given)),
      };
      const [[{ score }]] = await beamSearch(counting, {
        eosIds: [eos],
        maxTokens: 30,
        lengthPenalty: 1,
        earlyStopping,
      });
      return { steps, score };
    };
    const [early, usual, never] = [await counted(true), await counted(false), await counted('never')];
    expect(early.steps).toBeLessThanOrEqual(usual.steps);
    expect(usual.steps).toBeLessThanOrEqual(never.steps);
    expect(early.steps).toBeLessThan(never.steps);
    expect(early.score).toBeLessThanOrEqual(never.score);
  });

  it('cuts what does not end, and refuses what makes no sense', async () => {
    const [[cut]] = await beamSearch(scorer(1, 2), { eosIds: [], maxTokens: 5 });
    expect(cut).toMatchObject({ ended: false, tokens: { length: 5 } });
    await expect(search(1, 2, { maxTokens: 0 })).rejects.toThrow(/maxTokens is 0/);
    await expect(search(1, 2, { maxTokens: 1, best: 3 })).rejects.toThrow(/best is 3.*1 to 2/);
    await expect(search(1, 2, { maxTokens: 9, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    const broken = { ...scorer(1, 2), first: () => Promise.resolve([Float32Array.of(Number.NaN, 0)]) };
    await expect(beamSearch(broken, { eosIds: [], maxTokens: 2 })).rejects.toMatchObject({ code: 'RUNTIME' });
  });
});
