import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import type { MixerConfig } from '../attention/mixer.ts';
import { mixerPreset } from '../attention/presets.ts';
import { chain, TokenTree } from '../attention/tree.ts';
import { stepFormsOf } from '../models/graphs/step-forms.ts';
import { DecodingEngine } from './engine.ts';

const G = 32;
const mixers: Readonly<Record<string, readonly MixerConfig[]>> = {
  'augmented next to shorter groups': [
    mixerPreset('augmented', { group: G, kernel: 9 }),
    mixerPreset('augmented', { group: 12, kernel: 9 }),
  ],
  'window with a decaying memory': [
    mixerPreset('window', { group: G, window: 2, sinks: 2, decay: 'learned' }),
    mixerPreset('local', { group: G }),
  ],
  'sums alone, and next to local weights': [
    mixerPreset('global', { group: G }),
    mixerPreset('local+global', { group: G }),
  ],
};
/** Two roots; the longest path is longer than a group, and branches before, at and behind the end of one. */
const parents = Array.from({ length: 48 }, (_, node) => (node < 2 ? -1 : node % 5 === 0 ? node - 2 : node - 1));
const tree = new TokenTree(parents);

describe.each(Object.entries(mixers))('trees across folds: %s', (_, configs) => {
  const model = tinyLlama(configs);
  const parameters = randomParameters(model, 3);
  const text = [...randomTokens(model, 3 * G, 4)];
  const tokens = [...randomTokens(model, tree.size, 5)];
  const forms = { ...stepFormsOf(), crossesFolds: true };
  const nodes = parents.map((__, node) => node);

  it('are read in parts as graphs that cross folds read them, alone and beside others', async () => {
    await using parted = await DecodingEngine.create(model, parameters, { threads: 1 });
    await using whole = await DecodingEngine.create(model, parameters, { threads: 1, forms });
    const isParted = parted.layout.slotLayouts.some(({ withinFolds }) => withinFolds);
    expect([isParted, whole.layout.slotLayouts.some(({ withinFolds }) => withinFolds)]).toEqual([true, false]);
    for (const committed of [2 * G - 9, 2 * G - 1, 2 * G]) {
      const read = async (engine: DecodingEngine) => {
        const [state, other] = [engine.newState(), engine.newState()];
        await engine.prefill(state, text.slice(0, committed));
        await engine.prefill(other, text.slice(0, 5));
        const beside = { state: other, tree: chain(1), tokens: [7], wanted: [0] };
        const request = { state, tree, tokens, wanted: nodes };
        const [, output, last] = await engine.step([beside, request, beside]);
        const path = tree.pathTo(tree.size - 1);
        await engine.commit(request, output, path);
        const { logits } = await engine.advance(state, 9);
        return { numbers: [...output.logits, ...output.hidden, ...last.logits, logits], length: state.length };
      };
      const [got, expected] = [await read(parted), await read(whole)];
      expect(got.length).toBe(expected.length);
      for (const [i, row] of expected.numbers.entries()) {
        const peak = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        const off = row.reduce((most, x, at) => Math.max(most, Math.abs(x - got.numbers[i][at])), 0);
        expect(off / peak, `row ${i} after ${committed}`).toBeLessThan(1e-4);
      }
    }
  });

  it('follow a rule only in graphs that cross folds', async () => {
    await using parted = await DecodingEngine.create(model, parameters, { threads: 1 });
    const request = { state: parted.newState(), tree, tokens, wanted: nodes, rule: { seesClosedGroups: false } };
    await expect(parted.step([request])).rejects.toMatchObject({ code: 'INPUT' });
    await expect(parted.step([{ ...request, rule: {} }])).resolves.toHaveLength(1);
    await using whole = await DecodingEngine.create(model, parameters, { threads: 1, forms });
    await expect(whole.step([{ ...request, state: whole.newState() }])).resolves.toHaveLength(1);
  });
});
