import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import type { MixerInput } from '../../attention/kinds/index.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { bestBeams } from '../../../test/decoding/beams.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { generateToEnd } from '../../../test/decoding/generated.ts';
import { beamMethod } from './beam-search.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';

const variants: Readonly<Record<string, MixerInput>> = {
  softmax: { kind: 'softmax' },
  augmented: mixerPreset('augmented', { group: 4, kernel: 5 }),
  'linformer by blocks': mixerPreset('linformer', { rows: 2, block: 4, convolution: true, kernel: 5 }),
};

describe.each(Object.keys(variants))('beams of %s', (name) => {
  const llama = tinyLlama([variants[name], variants[name]]);
  // Few tokens, so that all continuations can be listed; token 2 is EOS.
  const model = describeCausalModel({ ...llama.toJson(), vocab_size: 7 });
  const V = 7;
  const prompts = [5, 12, 1].map((length, seed) => randomTokens(model, length, seed + 20));
  let engine: DecodingEngine;
  beforeAll(async () => {
    engine = await DecodingEngine.create(model, randomParameters(model, 4), { threads: 1 });
  });
  afterAll(() => engine.dispose());

  const logProbabilities = (logits: Float32Array): number[] => {
    const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
    return Array.from(logits, (x) => x - total);
  };

  it('is greedy with one, over several groups', async () => {
    const found = await bestBeams(engine, prompts, 1, { maxTokens: 23, ignoreEos: true });
    for (const [i, promptTokens] of prompts.entries()) {
      const greedy = await generateToEnd(engine, { promptTokens, maxTokens: 23, ignoreEos: true });
      expect(found[i].map(({ tokens, ended }) => ({ tokens, ended }))).toEqual([
        { tokens: greedy.tokens, ended: false },
      ]);
    }
  });

  it('finds the best there is where they are enough', async () => {
    const maxTokens = 3;
    const best = 6;
    const found = await bestBeams(engine, prompts, V * V, { maxTokens, best, earlyStopping: 'never' });
    for (const [i, prompt] of prompts.entries()) {
      const all: { tokens: number[]; score: number; ended: boolean }[] = [];
      const visit = async (state: SequenceState, logits: Float32Array, tokens: number[], sum: number) => {
        for (const [token, p] of logProbabilities(logits).entries()) {
          const score = (sum + p) / (tokens.length + 1);
          const longer = [...tokens, token];
          if (token === 2) all.push({ tokens, score, ended: true });
          else if (longer.length === maxTokens) all.push({ tokens: longer, score, ended: false });
          else {
            const own = state.fork();
            await visit(own, (await engine.advance(own, token)).logits, longer, sum + p);
          }
        }
      };
      const root = engine.newState();
      const { logits } = await engine.prefill(root, prompt);
      await visit(root, logits, [], 0);
      all.sort((a, b) => b.score - a.score);
      expect(found[i].map(({ tokens, ended }) => ({ tokens, ended }))).toEqual(
        all.slice(0, best).map(({ tokens, ended }) => ({ tokens, ended })),
      );
      for (const [rank, { score }] of found[i].entries()) expect(score).toBeCloseTo(all[rank].score, 4);
    }
  });

  it('are worth what the model says of their tokens, and the same next to other prompts', async () => {
    const options = { maxTokens: 14, best: 4, lengthPenalty: 0.5 };
    const together = await bestBeams(engine, prompts, 4, options);
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await bestBeams(engine, [prompt], 4, options);
      expect(alone.map(({ tokens }) => tokens)).toEqual(together[i].map(({ tokens }) => tokens));
      for (const { tokens, logProbability, ended } of alone) {
        const state = engine.newState();
        let { logits } = await engine.prefill(state, prompt);
        let sum = 0;
        for (const token of ended ? [...tokens, 2] : tokens) {
          sum += logProbabilities(logits)[token];
          ({ logits } = await engine.advance(state, token));
        }
        expect(logProbability).toBeCloseTo(sum, 3);
      }
    }
  });
});

describe('beams', () => {
  it('refuse what they cannot continue, and stop', async () => {
    const model = tinyLlama([{ kind: 'softmax' }]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 4));
    await expect(bestBeams(engine, [[50]], 2, { maxTokens: 3 })).rejects.toThrow(/token 50 is outside/);
    const search = { promptTokens: [1], method: beamMethod(2) };
    await expect(generateToEnd(engine, { ...search, maxTokens: -1 })).rejects.toThrow(/maxTokens is -1/);
    const stopped = await generateToEnd(engine, { ...search, maxTokens: 3, signal: AbortSignal.abort() });
    expect(stopped).toMatchObject({ finish: 'abort', tokens: [] });
    // An empty prompt is the BOS token.
    expect(await bestBeams(engine, [[]], 2, { maxTokens: 3 })).toEqual(
      await bestBeams(engine, [[1]], 2, { maxTokens: 3 }),
    );
  });
});
