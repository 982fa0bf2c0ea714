/** LLaMA 3, Mistral, Qwen2, Qwen3 and Granite against float64 loops, and through all that is done with a causal model. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel, openModelWeights, saveModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { exportModel } from '../../src/export/export-model.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { parallelLogits } from '../../src/models/graphs/parallel-graph.ts';
import { mergeLora } from '../../src/nn/lora.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { compile } from '../../src/runtime/compile.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { loraOf, trainLora, wholeParameters } from '../../src/training/lora.ts';
import { causalObjective } from '../../src/training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';
import { train, type UpdateEvent } from '../../src/training/trainer.ts';
import { songRows } from '../cli/text-data.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { relativeToPeak } from '../parity/golden.ts';
import { type ReferenceConfig, referenceLogits } from '../parity/decoder-reference.ts';
import { randomParameters, randomTokens } from './tiny-llama.ts';
import { openReady } from '../open/ready-model.ts';

/** Four query heads on two key-value heads. */
const sizes = {
  vocab_size: 258,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
} as const;

/** Of the four pairs of a head, the first keeps its pace, the second is between, the others are slowed. */
const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 0.5,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
} as const;

/** Published ones have no biases. */
const granite = { model_type: 'granite', attention_bias: true } as const;

/** Far from those of a decoder without factors. */
const factors = {
  ...{ embedding_multiplier: 6, residual_multiplier: 0.4, attention_multiplier: 0.1, logits_scaling: 3 },
  rope_theta: 1e5,
} as const;

const relatives: readonly (ReferenceConfig & { readonly name: string; readonly model_type: string })[] = [
  { name: 'LLaMA 3', model_type: 'llama', ...sizes, rope_scaling: llama3, tie_word_embeddings: true },
  { name: 'Mistral', model_type: 'mistral', ...sizes, sliding_window: 5, head_dim: 6 },
  { name: 'Mistral without a window', model_type: 'mistral', ...sizes, sliding_window: null },
  { name: 'Qwen2', model_type: 'qwen2', ...sizes, rope_theta: 1e6, tie_word_embeddings: true },
  { name: 'Qwen3', model_type: 'qwen3', ...sizes, rope_theta: 1e6, head_dim: 12 },
  { name: 'Granite', model_type: 'granite', ...sizes, ...factors, tie_word_embeddings: true },
  { name: 'Granite with biases', ...granite, ...sizes, ...factors },
];

const folder = suiteFolder();
const length = 29;

type Float32Parameters = Map<string, Tensor<'float32'>>;

function float32Parameters(model: CausalModel, seed: number): Float32Parameters {
  const drawn = randomParameters(model, seed);
  return new Map([...drawn].map(([key, { shape, data }]) => [key, float32(shape, Float32Array.from(data, Number))]));
}

async function parallel(model: CausalModel, parameters: Float32Parameters, tokens: Int32Array): Promise<Float64Array> {
  const graph = new Graph('logits');
  const input = graph.constant(int32([1, tokens.length], tokens));
  graph.output('logits', parallelLogits(model, new WeightParameters(graph, parameters), input));
  await using program = await compile(graph);
  const { logits } = await program.run({}, ['logits']);
  return Float64Array.from(dataOf(logits, 'float32'));
}

/** Logits token by token, after a prompt of a third of them. */
async function recurrent(engine: DecodingEngine, tokens: Int32Array): Promise<Float64Array[]> {
  const prompt = Math.floor(tokens.length / 3);
  const state = engine.newState();
  const { logits } = await engine.prefill(state, tokens.slice(0, prompt));
  const found = [Float64Array.from(logits)];
  for (const token of tokens.slice(prompt)) {
    found.push(Float64Array.from((await engine.advance(state, token)).logits));
  }
  return found;
}

describe.each(relatives)('$name', ({ name, ...config }) => {
  const json = { ...config };
  const model = describeCausalModel(json);
  const parameters = float32Parameters(model, 3);
  const tokens = randomTokens(model, length, 4);
  const expected = referenceLogits(config, (key) => parameters.get(key)?.data, tokens);

  it('has the logits of its published description over whole texts', async () => {
    expect(relativeToPeak(await parallel(model, parameters, tokens), Float64Array.from(expected.flat()))).toBeLessThan(
      2e-5,
    );
  });

  it('has them token by token', async () => {
    await using engine = await DecodingEngine.create(model, parameters);
    const found = await recurrent(engine, tokens);
    const last = expected.slice(-found.length);
    found.forEach((logits, i) => {
      expect(relativeToPeak(logits, Float64Array.from(last[i])), `token ${i}`).toBeLessThan(2e-5);
    });
  });

  it('is saved under the names and fields it came with', async () => {
    const dir = join(folder, name);
    await saveModel(dir, { model, parameters }, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
    const written: unknown = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8'));
    expect(written).toEqual({ ...json, torch_dtype: 'float32' });
    await using weights = await openModelWeights(dir);
    expect([...weights.names].sort()).toEqual([...parameters.keys()].sort());
    const again = await loadCausalModel(dir);
    expect(again.model.mixers).toEqual(model.mixers);
    for (const [key, { data }] of parameters) expect(again.parameters.get(key)?.data, key).toEqual(data);
  });

  it('is linearized and keeps its fields; the folder says which mixer each layer has', async () => {
    const dir = join(folder, `${name} linear`);
    const linear = linearize(model, parameters, mixerPreset('augmented', { group: 8, kernel: 5 }), [1]);
    await saveModel(dir, linear, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
    const again = await loadCausalModel(dir);
    expect(again.model.mixers).toEqual([model.mixers[0], linear.model.mixers[1]]);
    expect(again.model.toJson()).toMatchObject(json);
    const back = again.model.withMixers(model.mixers);
    expect(back.toJson()).toEqual({ ...json, torch_dtype: 'float32' });
  });

  it('is trained by low-rank updates, which merge', async () => {
    const linear = linearize(model, parameters, mixerPreset('augmented', { group: 8, kernel: 5 }));
    const lora = loraOf(linear.model, { rank: 2, alpha: 4 });
    expect([...lora.matrices.keys()].map((key) => key.split('.').at(-2))).toEqual(
      [0, 1].flatMap(() => ['q_proj', 'k_proj', 'v_proj', 'o_proj']),
    );
    const whole = wholeParameters(linear.model, ['norms', 'mixers']);
    const losses: number[] = [];
    const job = {
      ...linear,
      dataset: await songRows(),
      objective: causalObjective(linear.model, 20),
      settings: parseTrainingSettings({ batch: 4, length: 20, steps: 12, learningRate: 1e-2 }),
      onUpdate: ({ loss }: UpdateEvent) => void losses.push(loss),
    };
    const outcome = await train(trainLora(job, lora, whole, 1));
    expect(losses.at(-1)).toBeLessThan(losses[0]);
    const merged = mergeLora(lora, outcome.parameters);
    expect([...merged.keys()].sort()).toEqual([...linear.model.parameters.keys()].sort());
    const changed = [...merged].filter(([key, { data }]) => String(data) !== String(linear.parameters.get(key)?.data));
    const expectedChange = [...linear.model.parameters.keys()].filter(
      (key) => whole.has(key) || lora.matrices.has(key),
    );
    expect(changed.map(([key]) => key).sort()).toEqual(expectedChange.sort());
  });

  it.each([
    ['f32', 1e-5],
    ['w8a8', 0.15],
    ['int4', 0.7],
  ] as const)('is exported as %s and decodes from there', async (dtype, tolerance) => {
    const dir = join(folder, `${name} ${dtype}`);
    await exportModel(dir, {
      model,
      weights: readerOf(parameters),
      dtype,
      tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()),
    });
    await using opened = await openReady(dir);
    const { logits } = await opened.engine.prefill(opened.engine.newState(), tokens);
    const difference = relativeToPeak(Float64Array.from(logits), Float64Array.from(expected.at(-1) ?? []));
    expect(difference).toBeLessThan(tolerance);
    expect(opened.model.toJson()).toEqual(json);
  });
});
