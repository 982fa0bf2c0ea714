import { describe, expect, it } from 'vitest';
import { randomTokens } from '../../../test/models/tiny-llama.ts';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { float32, type Tensor } from '../../graph/tensor.ts';
import { describeCausalModel, describeModel, supportedFamilies } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import type { CausalModel } from '../../models/model.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { storedParameters, type WeightType } from '../../quantization/sources.ts';
import { readerOf } from '../../quantization/weight-reader.ts';
import { Random } from '../../random.ts';
import { type ComparedParameters, compareLayers, type LayerDifference } from './layer-error.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';

type Parameters = ReadonlyMap<string, Tensor<'float32'>>;

interface Subject {
  readonly model: CausalModel;
  readonly parameters: Parameters;
}

const decoder = { size: 'num_hidden_layers', lastMatrix: 'model.layers.1.mlp.down_proj.weight' };

interface Family {
  readonly size: string;
  readonly lastMatrix: string;
  /** Fields that belong to three layers. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** The part of config.json that has the size. */
  readonly within?: string;
  /** The most mean difference in eight bits: norms of heads of 6 channels make errors larger. Default 0.05. */
  readonly most?: number;
}

/** Of three layers, and the last matrix of the middle one. */
const families: Readonly<Record<string, Family>> = {
  llama: decoder,
  mistral: decoder,
  olmo_hybrid: { ...decoder, most: 0.1 },
  qwen2: decoder,
  qwen3: decoder,
  qwen3_5: {
    ...{ ...decoder, within: 'text_config', most: 0.1 },
    lastMatrix: 'model.language_model.layers.1.mlp.down_proj.weight',
  },
  qwen3_5_text: { ...decoder, most: 0.1 },
  qwen3_next: { ...decoder, most: 0.1 },
  smollm3: decoder,
  falcon_h1: { ...decoder, lastMatrix: 'model.layers.1.feed_forward.down_proj.weight' },
  granitemoehybrid: {
    ...{ ...decoder, lastMatrix: 'model.layers.1.shared_mlp.output_linear.weight' },
    fields: { layer_types: ['mamba', 'attention', 'mamba'] },
  },
  lfm2: { ...decoder, lastMatrix: 'model.layers.1.feed_forward.w2.weight' },
  gemma3_text: decoder,
  gpt2: { size: 'n_layer', lastMatrix: 'transformer.h.1.mlp.c_proj.weight' },
  flash: { size: 'depth', lastMatrix: 'layers.1.to_out.weight' },
};

function subject(family: string, mixer: 'native' | 'augmented' = 'native'): Subject {
  const { size, within, fields } = families[family];
  const config = tinyConfig(family);
  const larger = within === undefined ? { [size]: 3 } : { [within]: Object.assign({}, config[within], { [size]: 3 }) };
  const model = describeCausalModel({ ...config, ...larger, ...fields });
  const parameters = initializeParameters(model, new Random(5), 0.3);
  return mixer === 'native' ? { model, parameters } : linearize(model, parameters, mixerPreset(mixer, { group: 8 }));
}

function windowsOf({ model }: Subject, ...lengths: number[]): ScoredWindow[] {
  return lengths.map((length, i) => ({ tokens: randomTokens(model, length, 20 + i), scoredFrom: 1 }));
}

function exactly(parameters: Parameters): ComparedParameters {
  return { makeSource: (graph) => new WeightParameters(graph, parameters) };
}

function storedAs(type: WeightType, parameters: Parameters): ComparedParameters {
  return { makeSource: (graph) => storedParameters(type, graph, readerOf(parameters)) };
}

function damaged(parameters: Parameters, name: string): Parameters {
  const matrix = parameters.get(name);
  if (matrix === undefined) throw new Error(`no parameter ${name} among ${[...parameters.keys()].join(' ')}`);
  const data = matrix.data.map((value, i) => (i % 7 === 0 ? value + 0.5 : value));
  return new Map([...parameters, [name, float32(matrix.shape, data)]]);
}

const causal = supportedFamilies.filter((family) => describeModel(tinyConfig(family)).kind === 'causal');

it('covers every causal family', () => {
  expect(causal.sort()).toEqual(Object.keys(families).sort());
});

describe.each(Object.keys(families))('the layers of %s', (family) => {
  it.each(['native', 'augmented'] as const)('differ from a damaged one on, %s', async (mixer) => {
    const { model, parameters } = subject(family, mixer);
    const other = exactly(damaged(parameters, families[family].lastMatrix));
    const windows = windowsOf({ model, parameters }, 21);
    const { layers, tokens } = await compareLayers(model, exactly(parameters), other, { windows });
    expect(tokens).toBe(21);
    expect(layers).toHaveLength(3);
    expect(layers[0].max).toBe(0);
    expect(layers[0].activationRms).toBeGreaterThan(0);
    for (const { max, mean } of layers.slice(1)) {
      expect(mean).toBeGreaterThan(0.01);
      expect(max).toBeGreaterThan(mean);
    }
  });

  it('are those of float32 where they are stored so, near them in eight bits, farther in four', async () => {
    const { model, parameters } = subject(family, 'augmented');
    const windows = windowsOf({ model, parameters }, 19, 11);
    const compare = (type: WeightType) =>
      compareLayers(model, exactly(parameters), storedAs(type, parameters), { windows });
    const same = await compare('f32');
    expect(Math.max(...same.layers.map(({ max }) => max))).toBeLessThan(1e-6);
    const bytes = await compare('w8a8');
    const blocks = await compare('int4');
    bytes.layers.forEach(({ mean, activationRms }, layer) => {
      expect(mean).toBeGreaterThan(1e-4);
      expect(mean).toBeLessThan(families[family].most ?? 0.05);
      expect(blocks.layers[layer].mean).toBeGreaterThan(2 * mean);
      expect(activationRms).toBe(same.layers[layer].activationRms);
    });
    expect(await compare('w8a8')).toEqual(bytes);
  });
});

describe('compareLayers', () => {
  const model = subject('llama');
  const compare = (windows: ScoredWindow[], tokens?: number) =>
    compareLayers(model.model, exactly(model.parameters), storedAs('int4', model.parameters), { windows }, { tokens });

  it('counts every position once, whatever is padded', async () => {
    const windows = windowsOf(model, 13, 7);
    const both = await compare(windows);
    const [long, short] = [await compare(windows.slice(0, 1)), await compare(windows.slice(1))];
    expect([both.tokens, long.tokens, short.tokens]).toEqual([20, 13, 7]);
    const absolute = ({ max, mean, activationRms }: LayerDifference) => ({
      max: max * activationRms,
      mean: mean * activationRms,
      square: activationRms ** 2,
    });
    both.layers.forEach((layer, i) => {
      const found = absolute(layer);
      const [a, b] = [absolute(long.layers[i]), absolute(short.layers[i])];
      expect(found.max).toBeCloseTo(Math.max(a.max, b.max), 5);
      expect(found.mean).toBeCloseTo((13 * a.mean + 7 * b.mean) / 20, 5);
      expect(found.square).toBeCloseTo((13 * a.square + 7 * b.square) / 20, 5);
    });
  });

  it('stops after so many tokens, also within a window', async () => {
    const windows = windowsOf(model, 13, 7, 5);
    const [first, second] = windows;
    const cut = { tokens: second.tokens.slice(0, 3), scoredFrom: 1 };
    expect(await compare(windows, 16)).toEqual({ ...(await compare([first, cut])), tokens: 16 });
    expect((await compare(windows, 13)).tokens).toBe(13);
  });

  it('refuses no text and tokens of another model, and stops when asked', async () => {
    await expect(compare([])).rejects.toMatchObject({ code: 'INPUT' });
    const foreign = { tokens: Int32Array.of(1, 258), scoredFrom: 1 };
    await expect(compare([foreign])).rejects.toMatchObject({ code: 'MISMATCH' });
    const { makeSource } = exactly(model.parameters);
    const windows = windowsOf(model, 5);
    const stopped = compareLayers(
      model.model,
      { makeSource },
      { makeSource },
      { windows },
      { signal: AbortSignal.abort() },
    );
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('keeps numbers that are none', async () => {
    const broken = damaged(model.parameters, 'model.layers.1.mlp.down_proj.weight');
    broken.get('model.layers.1.mlp.down_proj.weight')?.data.fill(Number.NaN, 0, 1);
    const windows = windowsOf(model, 5);
    const { layers } = await compareLayers(model.model, exactly(model.parameters), exactly(broken), { windows });
    expect(layers.map(({ max }) => Number.isFinite(max))).toEqual([true, false, false]);
  });
});
