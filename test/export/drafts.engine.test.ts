/** Drafts change no text: greedy texts with each drafter are those of one token a step, in every stored type. */
import { beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset, type PresetOptions } from '../../src/attention/presets.ts';
import { chain } from '../../src/attention/tree.ts';
import { draftedTexts, engineOf, storedTypes, tinyLlamaOfPackage } from './drafted-texts.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { augmentedTinyLlama, type ModelWithWeights } from './exported-model.ts';
import { isWarmLikeCold, warmWays } from './warm-answers.ts';
import { StepEngine } from '../../src/decoding/step-engine.ts';
import { bitsByReading, isSameState } from '../../src/evaluation/check/same-bits.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { Random } from '../../src/random.ts';

let subject: ModelWithWeights;
beforeAll(async () => {
  subject = await tinyLlamaOfPackage();
});

describe('texts drafted = texts alone', () => {
  it.each(storedTypes)('%s: every text', async (type) => {
    await using engine = await engineOf(subject, type);
    expect(await draftedTexts(engine, { prompts: 2, maxTokens: 100 })).toEqual({ texts: 8, tokens: 800, differ: 0 });
  });
});

/** Two layers of it and one of attention. */
function gatedDeltaNet(fields: object): ModelWithWeights {
  const model = describeCausalModel({
    ...{ vocab_size: 50, hidden_size: 32, intermediate_size: 48, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ num_hidden_layers: 3, layer_types: ['linear_attention', 'full_attention', 'linear_attention'], head_dim: 8 },
    ...{ linear_num_key_heads: 3, linear_num_value_heads: 6, linear_key_head_dim: 5, linear_value_head_dim: 7 },
    ...fields,
  });
  return { model, parameters: initializeParameters(model, new Random(3)) };
}

/** Layers with attention and Mamba-2 side by side: six heads of five channels in three groups. */
function falconH1(state: number): ModelWithWeights {
  const model = describeCausalModel({
    ...{ model_type: 'falcon_h1', vocab_size: 50, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
    ...{ mamba_n_heads: 6, mamba_d_head: 5, mamba_d_ssm: 30, mamba_n_groups: 3, mamba_d_state: state },
  });
  return { model, parameters: initializeParameters(model, new Random(3), 0.3) };
}

/** One group of four heads. */
function granite(): ModelWithWeights {
  const model = describeCausalModel({
    ...{ model_type: 'granitemoehybrid', vocab_size: 50, hidden_size: 32, shared_intermediate_size: 48 },
    ...{ num_hidden_layers: 3, layer_types: ['mamba', 'attention', 'mamba'], num_attention_heads: 4 },
    ...{ num_key_value_heads: 2, mamba_n_heads: 4, mamba_d_head: 16, mamba_d_state: 20 },
  });
  return { model, parameters: initializeParameters(model, new Random(3), 0.3) };
}

/** Attention whose heads are wide, or share keys. */
function softmaxOf(headWidth: number, heads = 4, keyValueHeads = 2): ModelWithWeights {
  const model = describeCausalModel({
    ...{ model_type: 'qwen3', vocab_size: 50, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2 },
    ...{ num_attention_heads: heads, num_key_value_heads: keyValueHeads, head_dim: headWidth },
  });
  return { model, parameters: initializeParameters(model, new Random(3), 0.3) };
}

/** Three query heads share keys. */
function shared(mixer: string, options: PresetOptions = {}): ModelWithWeights {
  const { model, parameters } = softmaxOf(64, 3, 1);
  return linearize(model, parameters, mixerPreset(mixer, options));
}

const mixers: Readonly<Record<string, () => Promise<ModelWithWeights> | ModelWithWeights>> = {
  softmax: () => subject,
  augmented: augmentedTinyLlama,
  // A ring of twelve rows, and sinks that leave the first block.
  'window+sinks of four': () =>
    linearize(subject.model, subject.parameters, mixerPreset('window+sinks', { group: 4, sinks: 4 })),
  'Gated DeltaNet': () => gatedDeltaNet({ model_type: 'qwen3_5_text' }),
  // The runtime has a kernel of its own for states of such sizes, which rounds otherwise what a row of zeros reads.
  'Gated DeltaNet of 32 numbers': () =>
    gatedDeltaNet({ model_type: 'qwen3_5_text', linear_key_head_dim: 32, linear_value_head_dim: 32 }),
  'Gated DeltaNet of OLMo-Hybrid': () =>
    gatedDeltaNet({ model_type: 'olmo_hybrid', rope_parameters: { rope_theta: 1e4 } }),
  'Mamba-2 of Granite 4 H': granite,
  'Mamba-2 of Falcon-H1': () => falconH1(7),
  'Mamba-2 of 256 numbers': () => falconH1(256),
  'Mamba-2 of 192 numbers': () => falconH1(192),
  'softmax of 256 numbers': () => softmaxOf(256),
  'hedgehog of 256 features': () => {
    const { model, parameters } = softmaxOf(128);
    return linearize(model, parameters, mixerPreset('hedgehog'));
  },
  gated: () => linearize(subject.model, subject.parameters, mixerPreset('gated')),
  'gated, a long filter': () =>
    linearize(subject.model, subject.parameters, mixerPreset('gated', { group: 100, convolution: true, kernel: 159 })),
  'window, three queries a key': () => shared('window', { group: 32 }),
  'delta, three queries a key': () => shared('delta'),
  delta: () => linearize(subject.model, subject.parameters, mixerPreset('delta')),
  'gated-delta, a filter': () =>
    linearize(subject.model, subject.parameters, mixerPreset('gated-delta', { convolution: true })),
  'gated-delta, a long filter': () =>
    linearize(subject.model, subject.parameters, mixerPreset('gated-delta', { convolution: true, kernel: 159 })),
  'hedgehog in short groups': () => linearize(subject.model, subject.parameters, mixerPreset('hedgehog', { group: 8 })),
  window: () => linearize(subject.model, subject.parameters, mixerPreset('window', { decay: 'fixed' })),
  linformer: () => linearize(subject.model, subject.parameters, mixerPreset('linformer')),
  'augmented in groups of 8': () => shared('augmented', { group: 8 }),
  'FLASH in groups of 20': () => {
    const model = describeCausalModel({ ...tinyConfig('flash'), group_size: 20 });
    return { model, parameters: initializeParameters(model, new Random(3), 0.3) };
  },
  'linformer in blocks of 16': () => shared('linformer', { block: 16, rows: 3 }),
  'window in groups of 16, which decays': () => shared('window', { group: 16, memory: 'hedgehog', decay: 'learned' }),
  hedgehog: () => linearize(subject.model, subject.parameters, mixerPreset('hedgehog')),
  'sliding-window': () => linearize(subject.model, subject.parameters, mixerPreset('sliding-window', { window: 100 })),
};

describe('tokens have the bits that they have alone', () => {
  const cases = Object.keys(mixers).flatMap((mixer) =>
    (['w8a8', 'int4-128'] as const).map((type) => [mixer, type] as const),
  );
  it.each(cases)('%s, %s: in chains, trees, batches and chunks', async (mixer, type) => {
    await using engine = await engineOf(await mixers[mixer](), type);
    expect(await engine.sameBits()).toBe(true);
    const bits = await bitsByReading(engine, { length: 72, seed: 5 });
    expect(bits).toEqual({ alone: true, chain: true, tree: true, batch: true, chunks: true });
  });
});

describe('texts that end their groups in one step', () => {
  it.each(['Gated DeltaNet', 'delta'])('have the states that they have alone: %s', async (mixer) => {
    const made = await mixers[mixer]();
    await using engine = await engineOf(made, 'int4-128');
    const random = new Random(6);
    const draw = (): number => random.integer(made.model.sizes.vocabulary);
    // Five end a group of eight with their next token, of which four at most have S from the step; one is within a group.
    const pairs = await Promise.all(
      [7, 12, 15, 23, 31, 39].map(async (length) => {
        const state = engine.newState();
        await engine.prefill(state, Array.from({ length }, draw));
        return { state, alone: state.fork(), token: draw() };
      }),
    );
    const requests = pairs.map(({ state, token }) => ({ state, tree: chain(1), tokens: [token], wanted: [0] }));
    const outputs = await engine.step(requests);
    for (const [b, request] of requests.entries()) await engine.commit(request, outputs[b], [0]);
    for (const { state, alone, token } of pairs) {
      await engine.advance(alone, token);
      expect(isSameState(state, alone)).toBe(true);
    }
    expect(outputs.map(({ rows }) => rows.later !== undefined)).toEqual([true, false, true, true, true, false]);
  });
});

describe('answers to texts whose beginning is known', () => {
  it.each([
    ['softmax', 'mixed-32'],
    ['augmented', 'int4-32'],
    ['window', 'w8a8'],
    ['Gated DeltaNet', 'int4-128'],
    ['gated', 'f16'],
    ['Mamba-2 of Granite 4 H', 'int4-32'],
  ] as const)('%s, %s: they have the bits of those to the whole text', async (mixer, type) => {
    const made = await mixers[mixer]();
    await using engine = await engineOf(made, type);
    await using other = await engineOf(made, type);
    const random = new Random(4);
    const draw = (count: number): number[] =>
      Array.from({ length: count }, () => random.integer(made.model.sizes.vocabulary));
    const start = { engine, other, chunk: 64, beginning: draw(75), rest: draw(30) };
    const ways = type === 'mixed-32' ? warmWays.filter((way) => way !== 'turn') : warmWays;
    for (const way of ways) expect(await isWarmLikeCold(way, start), way).toBe(true);
  });
});

describe('on a processor whose kernels add up in another order', () => {
  it('an engine says that bits are not the same', async () => {
    const { model } = subject;
    await using engine = await engineOf(subject, 'f32');
    const other = new StepEngine(model, engine.program, new Map(), { addsInOrder: async () => false });
    expect([await engine.sameBits(), await other.sameBits()]).toEqual([true, false]);
  });
});
