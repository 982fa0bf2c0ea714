import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { Random } from '../random.ts';
import { DescendingQueue } from './descending-queue.ts';
import { Sampler, type SamplerConfig, type SamplerInput, type TokenConstraint } from './sampler.ts';

/** The definition, written to be read: full sorts, every filter a pass over the whole vocabulary. */
function expectedProbabilities(logits: Float32Array, recent: number[], config: SamplerConfig): number[] {
  const { temperature, topK, topP, minP, repetitionPenalty, repetitionWindow, logitBias } = config;
  const window = repetitionWindow === 0 ? [] : recent.slice(-repetitionWindow);
  const scores = Array.from(logits, (logit, token) => {
    const bias = logitBias[String(token)] ?? 0;
    const count = window.filter((other) => other === token).length;
    if (bias === false) return -Infinity;
    if (count === 0) return logit + bias;
    const repeated = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
    return repeated - config.presencePenalty - count * config.frequencyPenalty + bias;
  });
  const order = scores
    .map((_, token) => token)
    .sort((a, b) => (scores[a] === scores[b] ? a - b : scores[b] - scores[a]));
  if (temperature === 0) return scores.map((_, token) => (token === order[0] ? 1 : 0));
  const weights = scores.map((score) => Math.exp((score - scores[order[0]]) / temperature));
  let kept = topK > 0 ? order.slice(0, topK) : order;
  if (topP < 1) {
    const mass = kept.reduce((sum, token) => sum + weights[token], 0);
    let sum = 0;
    kept = kept.filter((token) => {
      const needed = sum < topP * mass;
      sum += weights[token];
      return needed;
    });
  }
  kept = kept.filter((token) => weights[token] >= minP * weights[order[0]]);
  const total = kept.reduce((sum, token) => sum + weights[token], 0);
  return scores.map((_, token) => (kept.includes(token) ? weights[token] / total : 0));
}

function randomLogits(seed: number, count: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => 2 * random.normal());
}

const configs = fc.record({
  temperature: fc.constantFrom(0, 1e-3, 0.3, 0.8, 1, 2, 100),
  topK: fc.constantFrom(0, 1, 2, 5, 1000),
  topP: fc.constantFrom(1e-9, 0.1, 0.5, 0.9, 0.999, 1),
  minP: fc.constantFrom(0, 0.05, 0.5, 1),
  repetitionPenalty: fc.constantFrom(1, 0.5, 1.3, 10),
  presencePenalty: fc.constantFrom(0, 0, 0.5, -1),
  frequencyPenalty: fc.constantFrom(0, 0, 0.25, -0.5),
  repetitionWindow: fc.constantFrom(0, 1, 3, 64),
  logitBias: fc.constantFrom<Record<string, number>>({}, {}, { 0: 1.5 }, { 0: -100 }),
  seed: fc.nat(),
});
/** Many ties, −∞ now and then. */
const logitLists = fc.array(
  fc.oneof(
    fc.integer({ min: -8, max: 8 }).map((x) => x / 4),
    fc.constant(-Infinity),
  ),
  {
    minLength: 1,
    maxLength: 40,
  },
);

describe('Sampler', () => {
  it('filters as defined', () => {
    fc.assert(
      fc.property(configs, logitLists, fc.array(fc.nat()), (config, list, someRecent) => {
        fc.pre(list.some((logit) => logit > -Infinity));
        const logits = Float32Array.from(list);
        const recent = someRecent.map((token) => token % logits.length);
        const expected = expectedProbabilities(logits, recent, new Sampler(config).config);
        const actual = new Sampler(config).probabilities(logits, recent);
        actual.forEach((probability, token) => {
          expect(probability).toBeCloseTo(expected[token], 12);
        });
        expect(actual.reduce((sum, probability) => sum + probability, 0)).toBeCloseTo(1, 12);
      }),
      { seed: 1, numRuns: 1000 },
    );
  });

  it('draws only tokens of positive probability', () => {
    fc.assert(
      fc.property(configs, logitLists, (config, list) => {
        fc.pre(list.some((logit) => logit > -Infinity));
        const logits = Float32Array.from(list);
        const sampler = new Sampler(config);
        const probabilities = sampler.probabilities(logits, []);
        for (let i = 0; i < 10; i++) expect(probabilities[sampler.next(logits, [])]).toBeGreaterThan(0);
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it.each<SamplerInput>([
    { temperature: 1, seed: 3 },
    { temperature: 0.7, topK: 12, topP: 0.95, seed: 4 },
    { temperature: 1.3, minP: 0.1, repetitionPenalty: 1.4, seed: 5 },
    { temperature: 1, presencePenalty: 0.7, frequencyPenalty: 0.3, logitBias: { 3: 2, 9: false, 11: -1 }, seed: 8 },
    { temperature: 1, topP: 0.8, seed: 6 },
  ])('draws with the exact probabilities: %j', (config) => {
    const logits = randomLogits(7, 30);
    const recent = [1, 2, 3, 4, 5];
    const sampler = new Sampler(config);
    const probabilities = sampler.probabilities(logits, recent);
    const draws = 40_000;
    const counts = new Float64Array(30);
    for (let i = 0; i < draws; i++) counts[sampler.next(logits, recent)]++;
    let chiSquare = 0;
    let freedom = -1;
    probabilities.forEach((probability, token) => {
      if (probability === 0) {
        expect(counts[token]).toBe(0);
        return;
      }
      freedom++;
      chiSquare += (counts[token] - draws * probability) ** 2 / (draws * probability);
    });
    expect(freedom).toBeGreaterThan(1);
    // Wilson and Hilferty's normal approximation of the χ² quantile, at 1 in 10,000.
    const quantile = freedom * (1 - 2 / (9 * freedom) + 3.719 * Math.sqrt(2 / (9 * freedom))) ** 3;
    expect(chiSquare).toBeLessThan(quantile);
  });

  it('keeps the smallest set that reaches p', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0.01, max: 0.99, noNaN: true }), (seed, topP) => {
        const logits = randomLogits(seed, 50);
        const all = new Sampler({ temperature: 1 }).probabilities(logits, []);
        const kept = [...new Sampler({ temperature: 1, topP }).probabilities(logits, []).entries()]
          .filter(([, probability]) => probability > 0)
          .map(([token]) => all[token]);
        const mass = kept.reduce((sum, probability) => sum + probability, 0);
        expect(mass).toBeGreaterThan(topP - 1e-12);
        expect(mass - Math.min(...kept)).toBeLessThan(topP + 1e-12);
      }),
      { seed: 8 },
    );
  });

  it('takes the first of equal logits when greedy', () => {
    const sampler = new Sampler();
    expect(sampler.next(Float32Array.of(1, 3, 3, 2), [])).toBe(1);
    expect(sampler.next(Float32Array.of(-Infinity, -4, -4), [])).toBe(1);
    expect(new Sampler({ repetitionPenalty: 2 }).next(Float32Array.of(1, 3, 2.5, 2), [1])).toBe(2);
    expect(new Sampler({ repetitionPenalty: 2 }).next(Float32Array.of(-3, -1), [1, 1, 1])).toBe(1);
  });

  it('repeats from a seed, and from a stored state', () => {
    const logits = randomLogits(9, 100);
    const config = { temperature: 1, seed: 10 };
    const draw = (sampler: Sampler): number[] => Array.from({ length: 20 }, () => sampler.next(logits, []));
    const sampler = new Sampler(config);
    const first = draw(sampler);
    const state = sampler.random.state;
    const second = draw(sampler);
    expect(draw(new Sampler(config))).toEqual(first);
    expect(draw(new Sampler({ ...config, seed: 11 }))).not.toEqual(first);
    expect(draw(new Sampler(config, state))).toEqual(second);
  });

  it('serves vocabularies of different sizes in turn', () => {
    const sampler = new Sampler({ temperature: 1, topK: 3 });
    for (const count of [10, 5, 20, 1]) {
      const logits = randomLogits(count, count);
      const expected = expectedProbabilities(logits, [], sampler.config);
      sampler.probabilities(logits, []).forEach((probability, token) => {
        expect(probability).toBeCloseTo(expected[token], 12);
      });
    }
  });

  it('refuses logits that no distribution can be made of', async () => {
    const sampler = new Sampler({ temperature: 1 });
    for (const bad of [[1, Number.NaN], [Number.NaN, 1], [1, Infinity], [-Infinity, -Infinity], []]) {
      expect(await errorCode(() => sampler.next(Float32Array.from(bad), []))).toBe('RUNTIME');
      expect(await errorCode(() => new Sampler().next(Float32Array.from(bad), []))).toBe('RUNTIME');
    }
    expect(sampler.next(Float32Array.of(3.4e38, -3.4e38), [])).toBe(0);
    expect(sampler.next(Float32Array.of(-Infinity, -3.4e38), [])).toBe(1);
  });

  it('refuses recent tokens outside the vocabulary and targets of another size', async () => {
    const sampler = new Sampler({ repetitionPenalty: 2 });
    for (const token of [-1, 2, 0.5, Number.NaN]) {
      expect(await errorCode(() => sampler.next(Float32Array.of(1, 2), [token]))).toBe('INPUT');
    }
    expect(await errorCode(() => sampler.probabilities(Float32Array.of(1, 2), [], new Float64Array(3)))).toBe('SHAPE');
  });

  it('refuses configurations out of range', async () => {
    const bad: unknown[] = [
      { temperature: -1 },
      { temperature: Number.NaN },
      { temperature: Infinity },
      { topK: 1.5 },
      { topK: -1 },
      { topP: 0 },
      { topP: 1.1 },
      { minP: -0.1 },
      { repetitionPenalty: 0 },
      { repetitionWindow: -1 },
      { presencePenalty: 101 },
      { frequencyPenalty: Number.NaN },
      { logitBias: { x: 1 } },
      { logitBias: { 1: true } },
      { logitBias: { 1: 1000 } },
      { seed: 0.5 },
      { top_k: 5 },
      'greedy',
    ];
    for (const config of bad) {
      expect(await errorCode(() => new Sampler(config as SamplerInput)), JSON.stringify(config)).toBe('CONFIG');
    }
  });
});

describe('what changes logits first', () => {
  const flat = new Float32Array(6);

  it('counts the occurrences in the window, and leaves the prompt out where asked to', () => {
    const text = [0, 1, 1, 2, 2, 2];
    const config = { temperature: 1, presencePenalty: 1, frequencyPenalty: 0.5 };
    const penalties = (sampler: Sampler): number[] => {
      const probabilities = sampler.probabilities(flat, text);
      return Array.from(probabilities.slice(0, 4), (probability) => Math.log(probabilities[5] / probability));
    };
    const close = (actual: number[], expected: number[]): void => {
      actual.forEach((value, token) => {
        expect(value).toBeCloseTo(expected[token], 12);
      });
    };
    close(penalties(new Sampler(config)), [1.5, 2, 2.5, 0]);
    close(penalties(new Sampler({ ...config, repetitionWindow: 4 })), [0, 1.5, 2.5, 0]);
    const generated = new Sampler(config, undefined, { penalizedFrom: 2 });
    close(penalties(generated), [0, 1.5, 2.5, 0]);
    expect(generated.lookback).toBe(Infinity);
    expect(new Sampler(config).lookback).toBe(64);
    expect(new Sampler().lookback).toBe(0);
  });

  it('lets a constraint have the last word, given the text', () => {
    const seen: number[][] = [];
    const constraint: TokenConstraint = (text) => {
      seen.push(Array.from(text));
      return text.length === 3 ? undefined : Uint8Array.of(0, 1, 0, 1, 0, 0);
    };
    const sampler = new Sampler({ temperature: 1, logitBias: { 0: 100 } }, undefined, { constraint });
    expect([...sampler.probabilities(flat, [4, 5])]).toEqual([0, 0.5, 0, 0.5, 0, 0]);
    expect(sampler.next(flat, [4, 5, 1])).toBe(0);
    expect(seen).toEqual([
      [4, 5],
      [4, 5, 1],
    ]);
    const greedy = new Sampler({ logitBias: { 2: 1, 3: 0.5, 1: false } }, undefined, { constraint });
    expect(greedy.next(flat, [])).toBe(3);
    expect(greedy.next(flat, [0, 0, 0])).toBe(2);
  });

  it('refuses what does not fit the vocabulary, and texts that cannot go on', async () => {
    const cases: [string, () => number][] = [
      ['INPUT', () => new Sampler({ logitBias: { 6: 1 } }).next(flat, [])],
      ['INPUT', () => new Sampler({ frequencyPenalty: 1 }).next(flat, [6])],
      ['SHAPE', () => new Sampler({}, undefined, { constraint: () => new Uint8Array(5) }).next(flat, [])],
      ['INPUT', () => new Sampler({}, undefined, { constraint: () => new Uint8Array(6) }).next(flat, [])],
      ['CONFIG', () => new Sampler({}, undefined, { penalizedFrom: -1 }).lookback],
    ];
    for (const [code, run] of cases) expect(await errorCode(run), String(run)).toBe(code);
  });
});

describe('DescendingQueue', () => {
  it('gives places in order of weight, then of place', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 })), (list) => {
        const weights = Float64Array.from(list);
        const queue = new DescendingQueue();
        queue.fill(Float64Array.of(9, 8, 7));
        queue.fill(weights);
        const expected = list.map((_, place) => place).sort((a, b) => list[b] - list[a] || a - b);
        expect(list.map(() => queue.take())).toEqual(expected);
        expect(queue.take()).toBe(-1);
      }),
      { seed: 12 },
    );
  });
});
