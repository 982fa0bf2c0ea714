/** LFM2 against outputs, gradients and caches of executed reference code (test/golden: lfm2_*). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TokenTree } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGolden } from './golden-model.ts';

const looseConfig = z.record(z.string(), z.unknown());

/** Lengths of texts, the one with gradients last; tokens of the prompt and of prompt and continuation; texts. */
const cases = [
  { name: 'lfm2_mixed', lengths: [1, 5, 73, 19], prompt: 11, total: 18, texts: [0, 1] },
  { name: 'lfm2_L4_bias', lengths: [1, 3, 71, 23], prompt: 8, total: 15, texts: [0, 1] },
  { name: 'lfm2_allconv', lengths: [1, 2, 70, 21], prompt: 9, total: 15, texts: [0, 1] },
  { name: 'lfm2_attn_noadjust', lengths: [1, 75, 26], prompt: 2, total: 11, texts: [0] },
] as const;

describe.each(cases)('$name', ({ name, lengths, prompt, total, texts }) => {
  const io = readGolden(name);
  const model = describeCausalModel(goldenConfig(name, looseConfig));
  const weights = goldenWeights(name, model.parameterName);
  const { vocabulary, layers } = model.sizes;
  const run = (ids: string): Promise<Record<string, Float64Array>> => runGolden(model, weights, goldenTensor(io, ids));

  it.each(lengths)('has the reference logits and loss at n = %i', async (n) => {
    const results = await run(`n${n}.input_ids`);
    expectGolden(results, io, { logits: `n${n}.logits`, ...(n > 1 && { loss: `n${n}.loss` }) });
    if (n !== lengths.at(-1)) return;
    expectGolden(results, io, { hidden: `n${n}.last_hidden_state` });
    expectGoldenGradients(results, io, model.parameters.keys());
  });

  it.runIf(io.has('padded_right.logits'))(
    'gives the reference logits of a padded batch where tokens are real',
    async () => {
      const { logits } = await run('padded_right.input_ids');
      const mask = goldenNumbers(io, 'padded_right.attention_mask');
      const visible = logits.map((x, i) => x * mask[Math.floor(i / vocabulary)]);
      expect(relativeToPeak(visible, goldenNumbers(io, 'padded_right.logits'))).toBeLessThan(2e-5);
    },
  );

  /** The part of a tensor that is of text b. */
  const ofText = (tensor: string, b: number): Float64Array => {
    const all = goldenNumbers(io, tensor);
    const size = all.length / texts.length;
    return all.subarray(b * size, (b + 1) * size);
  };
  const logitsAt = (b: number, position: number): Float64Array =>
    ofText('decode.full_logits', b).subarray(position * vocabulary, (position + 1) * vocabulary);

  it.each(texts)('has the logits and caches of step after step, and of trees, in text %i', async (b) => {
    const tokens = ofText('decode.input_ids', b);
    await using engine = await DecodingEngine.create(model, weights);
    const state = engine.newState();
    const found = [(await engine.prefill(state, tokens.subarray(0, prompt))).logits];
    const near = (logits: ArrayLike<number>, position: number): void => {
      expect(relativeToPeak(logits, logitsAt(b, position)), `position ${position}`).toBeLessThan(2e-5);
    };
    near(found[0], prompt - 1);
    expectCache(state, b, prompt);
    // The text as one branch of a tree of two, then token by token.
    const length = total - prompt;
    const parents = Array.from({ length: 2 * length }, (_, node) => node - 2);
    const tree = new TokenTree(parents.map((parent) => Math.max(-1, parent)));
    const drafted = parents.map((_, node) => (node % 2 === 0 ? tokens[prompt + node / 2] : node % vocabulary));
    const wanted = parents.map((_, node) => node).filter((node) => node % 2 === 0);
    const [output] = await engine.step([{ state, tree, tokens: drafted, wanted }]);
    output.logits.forEach((logits, i) => {
      near(logits, prompt + i);
    });
    for (let position = prompt; position < total; position++) {
      near((await engine.advance(state, tokens[position])).logits, position);
    }
    expectCache(state, b, total);
  });

  /** The state after n tokens is the cache of the reference, which also keeps the product that no later position reads. */
  function expectCache(state: SequenceState, b: number, n: number): void {
    let compared = 0;
    for (let layer = 0; layer < layers; layer++) {
      const { keys, values, slots } = state.layout.layers[layer];
      const held = state.layers[layer];
      const count = state.slotCount(slots);
      const rows = (all: Float32Array, width: number, position: number): number[][] =>
        Array.from({ length: model.sizes.keyValueHeads }, (_, head) => {
          const start = (head * count + (position % count)) * width;
          return Array.from(all.subarray(start, start + width));
        });
      const products = `cache.n${n}.conv.${layer}`;
      if (io.has(products)) {
        const [, , kernel] = goldenTensor(io, products).shape;
        const expected = ofText(products, b); // [channels,K]
        for (let at = Math.max(0, n - kernel + 1); at < n; at++) {
          const halves = rows(held.values, values.width, at);
          const own = rows(held.keys, keys.width, at).flatMap((half, head) => [...half, ...halves[head]]);
          const column = expected.filter((_, i) => i % kernel === at - n + kernel);
          expect(relativeToPeak(own, column), `layer ${layer}, position ${at}`).toBeLessThan(2e-5);
          compared++;
        }
      }
      for (const [stored, part, { width }] of [
        ['key', held.keys, keys] as const,
        ['value', held.values, values] as const,
      ]) {
        if (!io.has(`cache.n${n}.${stored}.${layer}`)) continue;
        const byPosition = Array.from({ length: n }, (_, position) => rows(part, width, position));
        const own = Array.from({ length: model.sizes.keyValueHeads }, (_, head) => byPosition.map((all) => all[head]));
        const expected = ofText(`cache.n${n}.${stored}.${layer}`, b); // [M,n,D]
        expect(relativeToPeak(own.flat(2), expected), `${stored} ${layer}`).toBeLessThan(2e-5);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(0);
  }
});
