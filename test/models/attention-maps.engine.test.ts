/** Attention maps against the formula: what the float64 reference of a mixer makes of unit vectors for values. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { mixReference, parseMixer, withoutBranch } from '../../src/attention/mixers.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { randomMixerParameters } from '../../src/evaluation/check/mixer-probe.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { attentionMaps, type LayerMaps } from '../../src/models/graphs/attention-maps.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';

const source = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));
const length = 29;
const tokens = Array.from({ length }, (_, i) => (i * 97 + 13) % 1024);
const loaded = await loadCausalModel(source);

/** The small LLaMA with a mixer whose branches are all switched on, by random parameters. */
function subjectOf(mixer: MixerConfig) {
  const { model, parameters } = linearize(loaded.model, loaded.parameters, mixer);
  return { model, parameters: new Map([...parameters, ...randomMixerParameters(model, new Random(5))]) };
}
type Subject = ReturnType<typeof subjectOf>;

/** The reference's weights [H,T,T] of a layer for its own queries and keys, with another mixer if one is named. */
function referenceWeights({ model, parameters }: Subject, maps: LayerMaps, layer: number, mixer = maps.mixer) {
  const { heads, keyValueHeads } = maps;
  const units = new Float64Array(keyValueHeads * length * length);
  for (let row = 0; row < keyValueHeads * length; row++) units[row * length + (row % length)] = 1;
  const prefix = `${model.attentionPrefix(layer)}.`;
  const own = [...parameters].filter(([name]) => name.startsWith(prefix));
  return mixReference(mixer, {
    dims: { heads, keyValueHeads, length, headWidth: model.sizes.headWidth, valueWidth: length },
    q: Float64Array.from(maps.queries),
    k: Float64Array.from(maps.keys),
    v: units,
    parameters: Object.fromEntries(own.map(([name, { data }]) => [name.slice(prefix.length), Float64Array.from(data)])),
  });
}

function sumOf(branches: LayerMaps['branches']): Float64Array {
  const all = Object.values(branches);
  return Float64Array.from(all[0], (_, at) => all.reduce((sum, weights) => sum + weights[at], 0));
}

/** The largest difference. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let at = 0; at < a.length; at++) most = Math.max(most, Math.abs(a[at] - b[at]));
  return most;
}

const mixers: Readonly<Record<string, object>> = {
  softmax: { kind: 'softmax' },
  augmented: mixerPreset('augmented', { group: 8, kernel: 9, localKernel: 'softmax' }),
  'relu² and λ': mixerPreset('augmented', { group: 6, kernel: 5, lambda: true }),
  'unmasked convolution': mixerPreset('local+conv', { group: 8, kernel: 9, unmasked: true }),
  'window with sinks and memory': { ...mixerPreset('window', { group: 4, sinks: 3 }), convolution: { kernel: 7 } },
  'window with decay': mixerPreset('window', { group: 3, window: 3, decay: 'learned' }),
  'sliding window': mixerPreset('sliding-window', { window: 6 }),
};

describe.each(Object.entries(mixers))('the maps of %s', (_, config) => {
  const subject = subjectOf(parseMixer(config));

  it('are the weights of the formula, in every layer, and give what the layer gives', async () => {
    const maps = await attentionMaps(subject.model, subject.parameters, tokens, { compile });
    expect(maps.length).toBe(length);
    maps.layers.forEach((layer, index) => {
      const { heads, keyValueHeads, branches, values, mixed } = layer;
      const weights = sumOf(branches);
      expect(distance(weights, referenceWeights(subject, layer, index)), `layer ${index}`).toBeLessThan(1e-5);
      const E = values.length / (keyValueHeads * length);
      const products = mixed.map((__, at) => {
        const row = Math.floor(at / E);
        const kvHead = Math.floor(row / length / (heads / keyValueHeads));
        let sum = 0;
        for (let j = 0; j < length; j++) {
          sum += weights[row * length + j] * values[(kvHead * length + j) * E + (at % E)];
        }
        return sum;
      });
      expect(distance(products, mixed), `layer ${index}`).toBeLessThan(1e-5 * Math.max(1, ...mixed.map(Math.abs)));
    });
  });
});

it('separates the branches as the formula without the others does', async () => {
  const mixer = parseMixer(mixers['relu² and λ']);
  const subject = subjectOf(mixer);
  const { layers } = await attentionMaps(subject.model, subject.parameters, tokens, { compile });
  const attention = withoutBranch(mixer, 'convolution');
  const local = attention && withoutBranch(attention, 'memory');
  const global = attention && withoutBranch(attention, 'window');
  if (local === undefined || global === undefined) throw new Error('the mixer has three branches');
  layers.forEach((layer, index) => {
    const { window = [], memory = [], convolution = [] } = layer.branches;
    expect(distance(window, referenceWeights(subject, layer, index, local))).toBeLessThan(1e-5);
    expect(distance(memory, referenceWeights(subject, layer, index, global))).toBeLessThan(1e-5);
    expect(Math.max(...Array.from(convolution, Math.abs))).toBeGreaterThan(0.1);
  });
});

it('keeps sinks, window and memory of one normalizer apart by position', async () => {
  const subject = subjectOf(mixerPreset('window', { group: 4, sinks: 3 }));
  const { layers } = await attentionMaps(subject.model, subject.parameters, tokens, { compile });
  const { window, sinks, memory } = layers[1].branches;
  const readers = (branch: Float32Array | undefined, t: number): number[] =>
    Array.from({ length }, (_, j) => j).filter((j) => (branch?.[t * length + j] ?? 0) !== 0);
  expect(readers(sinks, 21)).toEqual([0, 1, 2]);
  expect(readers(memory, 21)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  expect(readers(window, 21)).toEqual([16, 17, 18, 19, 20, 21]);
});

describe('what has no map', () => {
  it.each([
    ['normalized', { ...mixerPreset('augmented', { group: 8, normalize: 'together' }) }],
    ['castling', { ...mixerPreset('augmented', { group: 8, castling: true }) }],
    ['gated by its values', { kind: 'gated-delta' }],
  ])('is said: %s', async (_, config) => {
    const { model, parameters } = subjectOf(parseMixer(config));
    const given = attentionMaps(model, parameters, tokens, { compile });
    await expect(given).rejects.toThrow('not a weighted sum of values');
    await expect(given).rejects.toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it.each([
    ['no tokens', [], /0 tokens; expected 1 to 1024/],
    ['a token beyond the vocabulary', [1, 1024], /token 1024 is not in the vocabulary of 0 to 1023/],
  ])('is refused: %s', async (_, given, message) => {
    await expect(attentionMaps(loaded.model, loaded.parameters, given, { compile })).rejects.toThrow(message);
  });
});
