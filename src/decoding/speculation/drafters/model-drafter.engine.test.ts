import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../../attention/presets.ts';
import { DecodingEngine } from '../../engine.ts';
import type { SequenceState } from '../../state/sequence-state.ts';
import type { Draft } from './drafter.ts';
import { ModelDrafter, type ModelDrafterOptions } from './model-drafter.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 }), { kind: 'softmax' }]);
const V = model.sizes.vocabulary;

const makeEngine = (): Promise<DecodingEngine> =>
  DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });

function propose(
  drafter: ModelDrafter,
  state: SequenceState,
  tokens: readonly number[],
  maxDepth = 99,
): Promise<Draft> {
  return drafter.propose({ tokens, root: tokens[tokens.length - 1], hidden: new Float32Array(0), state, maxDepth });
}

/** Log-probabilities after a text, by the engine alone. */
async function logProbabilities(engine: DecodingEngine, text: readonly number[]): Promise<number[]> {
  const { logits } = await engine.prefill(engine.newState(), text);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return Array.from(logits, (logit) => logit - total);
}

describe('a draft model', () => {
  it('drafts its own greedy text as a chain', async () => {
    await using engine = await makeEngine();
    const drafter = new ModelDrafter(engine, V, { depth: 5 });
    const text = [...randomTokens(model, 6, 1)];
    for (let round = 0; round < 5; round++) {
      const { tree, tokens } = await propose(drafter, engine.newState(), text);
      expect([...tree.parents]).toEqual([-1, 0, 1, 2, 3, 4]);
      const expected = [...text];
      for (let i = 0; i < 5; i++) {
        const scores = await logProbabilities(engine, expected);
        expected.push(scores.indexOf(Math.max(...scores)));
      }
      expect([...tokens]).toEqual(expected.slice(text.length - 1));
      // All guesses come true, some, or none; then something else follows.
      text.push(...expected.slice(text.length, text.length + [5, 2, 0, 4, 1][round]), (7 * round) % V);
    }
  });

  it('drafts a tree of the likeliest paths of every length', async () => {
    await using engine = await makeEngine();
    const [depth, width] = [3, 3];
    const text = [...randomTokens(model, 9, 2)];
    const { tree, tokens } = await propose(new ModelDrafter(engine, V, { depth, width }), engine.newState(), text);
    let beam: { path: number[]; score: number }[] = [{ path: [], score: 0 }];
    for (let level = 1; level <= depth; level++) {
      const next: typeof beam = [];
      for (const { path, score } of beam) {
        const scores = await logProbabilities(engine, [...text, ...path]);
        scores.forEach((each, token) => next.push({ path: [...path, token], score: score + each }));
      }
      beam = next.sort((a, b) => b.score - a.score).slice(0, width);
      const nodes = Array.from(tokens, (_, node) => node).filter((node) => tree.depths[node] === level);
      const paths = nodes.map((node) =>
        tree
          .pathTo(node)
          .slice(1)
          .map((each) => tokens[each]),
      );
      expect(paths).toEqual(beam.map(({ path }) => path));
    }
  });

  it('reads every token of the text once', async () => {
    await using engine = await makeEngine();
    const drafter = new ModelDrafter(engine, V, { depth: 4 });
    let read = 0;
    const { step } = engine;
    engine.step = (requests) => {
      for (const { tree } of requests) read += tree.size;
      return step.call(engine, requests);
    };
    const text = [...randomTokens(model, 100, 3)];
    await propose(drafter, engine.newState(), text);
    expect(read).toBe(100 + 1 + 2 + 3);
    for (let round = 0; round < 4; round++) {
      read = 0;
      text.push(round, round + 1); // as a rule not what was guessed
      await propose(drafter, engine.newState(), text);
      expect(read).toBeLessThanOrEqual(2 + 1 + 2 + 3);
    }
  });

  it('guesses no deeper than is of use', async () => {
    await using engine = await makeEngine();
    const text = [...randomTokens(model, 5, 3)];
    const drafter = new ModelDrafter(engine, V, { depth: 4 });
    for (const depth of [0, 1, 2, 9]) {
      const { tree } = await propose(drafter, engine.newState(), text, depth);
      expect(tree.height).toBe(Math.min(depth, 4));
      text.push(1);
    }
  });

  it('refuses another vocabulary and strange sizes', async () => {
    await using engine = await makeEngine();
    const make = (vocabulary: number, options?: ModelDrafterOptions) => () =>
      new ModelDrafter(engine, vocabulary, options);
    expect(make(V + 1)).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
    expect(make(V, { depth: 0 })).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(make(V, { width: 1.5 })).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});
