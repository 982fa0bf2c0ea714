/** Hybrid models against outputs, gradients, caches and step-by-step logits of executed reference code. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isExchangeable } from '../../src/attention/mixers.ts';
import { TokenTree } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { goldenConfig, goldenNumbers, type GoldenTensor, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGolden } from './golden-model.ts';

const looseConfig = z.record(z.string(), z.unknown());

/** Lengths of texts, the one with gradients last; tokens of the prompt and of prompt and continuation; texts. */
export interface HybridCase {
  readonly name: string;
  readonly lengths: readonly number[];
  /** Absent: the case has no gradients, losses and steps. */
  readonly decode?: { readonly prompt: number; readonly total: number; readonly texts: readonly number[] };
}

/** A layer's state after n tokens, to be compared with the cache of the reference. */
export interface HeldLayer {
  readonly state: SequenceState;
  readonly layer: number;
  readonly n: number;
  /** The tensor `cache.n<n>.<name>.<layer>` of the case, as far as it is of the text; undefined if there is none. */
  readonly cache: (name: string) => { readonly shape: readonly number[]; readonly data: Float64Array } | undefined;
  /** Rows [M,width] of `keys` or `values` at a position. */
  readonly rows: (part: 'keys' | 'values', position: number) => number[][];
}

/** @param expectOwn compares the layers of the family's own, and returns how much it compared; default: it has none */
export function testHybrids(cases: readonly HybridCase[], expectOwn: (held: HeldLayer) => number = () => 0): void {
  describe.each(cases)('$name', ({ name, lengths, decode }) => {
    const io = readGolden(name);
    const model = describeCausalModel(goldenConfig(name, looseConfig));
    const all = goldenWeights(name, model.parameterName);
    const weights = new Map([...all].filter(([parameter]) => model.parameters.has(parameter)));
    const { vocabulary, layers } = model.sizes;
    const run = (ids: string): Promise<Record<string, Float64Array>> =>
      runGolden(model, weights, goldenTensor(io, ids));

    it.each(lengths)('has the reference logits and loss at n = %i', async (n) => {
      const results = await run(`n${n}.input_ids`);
      expectGolden(results, io, { logits: `n${n}.logits`, ...(io.has(`n${n}.loss`) && { loss: `n${n}.loss` }) });
      if (decode === undefined || n !== lengths.at(-1)) return;
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

    if (decode === undefined) return;
    const { prompt, total, texts } = decode;

    it.each(texts)('has the logits and caches of step after step, and of trees, in text %i', async (b) => {
      const tokens = ofText(io, 'decode.input_ids', b, texts.length);
      const all = ofText(io, 'decode.full_logits', b, texts.length);
      await using engine = await DecodingEngine.create(model, weights);
      const state = engine.newState();
      const found = [(await engine.prefill(state, tokens.subarray(0, prompt))).logits];
      const near = (logits: ArrayLike<number>, position: number): void => {
        const expected = all.subarray(position * vocabulary, (position + 1) * vocabulary);
        expect(relativeToPeak(logits, expected), `position ${position}`).toBeLessThan(2e-5);
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

    function expectCache(state: SequenceState, b: number, n: number): void {
      let compared = 0;
      // Of layers with two mixers side by side, those of all layers are listed one after the other.
      for (let layer = 0; layer < model.mixers.length; layer++) {
        const { slots, heads, ...widths } = state.layout.layers[layer];
        const held = state.layers[layer];
        const count = state.positions[slots.index].length;
        const rows = (part: 'keys' | 'values', position: number): number[][] =>
          Array.from({ length: heads }, (_, head) => {
            const { width } = widths[part];
            const start = (head * count + (position % count)) * width;
            return Array.from(held[part].subarray(start, start + width));
          });
        const cache: HeldLayer['cache'] = (stored) => {
          const tensor = `cache.n${n}.${stored}.${layer % layers}`;
          if (!io.has(tensor)) return undefined;
          return { shape: goldenTensor(io, tensor).shape, data: ofText(io, tensor, b, texts.length) };
        };
        compared += expectOwn({ state, layer, n, cache, rows });
        for (const [stored, part] of [['key', 'keys'] as const, ['value', 'values'] as const]) {
          const expected = cache(stored); // [B,M,rows,D], the last rows
          if (expected === undefined || !isExchangeable(model.mixers[layer])) continue;
          const kept = expected.shape[2];
          const byPosition = Array.from({ length: kept }, (_, i) => rows(part, n - kept + i));
          const own = Array.from({ length: heads }, (_, head) => byPosition.map((each) => each[head]));
          expect(relativeToPeak(own.flat(2), expected.data), `${stored} ${layer}`).toBeLessThan(2e-5);
          compared++;
        }
      }
      const stored = [...io.keys()].filter((key) => key.startsWith(`cache.n${n}.`));
      expect(compared > 0).toBe(stored.length > 0);
    }
  });
}

/** The part of a tensor that is of text b. */
function ofText(io: ReadonlyMap<string, GoldenTensor>, tensor: string, b: number, texts: number): Float64Array {
  const all = goldenNumbers(io, tensor);
  const size = all.length / texts;
  return all.subarray(b * size, (b + 1) * size);
}
