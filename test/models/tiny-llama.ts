/** A LLaMA small enough to be run by the hundred, with random parameters: no branch of its mixers is idle. */
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { Random } from '../../src/random.ts';

const config = {
  model_type: 'llama',
  vocab_size: 50,
  hidden_size: 32,
  intermediate_size: 48,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 256,
  bos_token_id: 1,
  eos_token_id: 2,
};

/** Four query heads of width 8 on two key-value heads, vocabulary 50, one layer per mixer. */
export function tinyLlama(mixers: readonly MixerInput[]): CausalModel {
  return describeCausalModel({
    ...config,
    num_hidden_layers: mixers.length,
    linnet: { version: 1, mixers: mixers.map((mixer) => parseMixer(mixer)) },
  });
}

/** Random parameters: norms and factors around 1, taps around 0.3, matrices that keep the size of their inputs. */
export function randomParameters(model: Pick<CausalModel, 'parameters'>, seed: number): Map<string, Tensor> {
  const random = new Random(seed);
  const parameters = new Map<string, Tensor>();
  for (const [name, { shape }] of model.parameters) {
    const count = shape.reduce((a, b) => a * b, 1);
    const [center, spread] = distribution(name, shape);
    const values = Float32Array.from({ length: count }, () => center + spread * random.normal());
    parameters.set(name, float32(shape, values));
  }
  return parameters;
}

function distribution(name: string, shape: readonly number[]): readonly [center: number, spread: number] {
  if (name.endsWith('_factor')) return [0.8, 0.1];
  if (shape.length === 1 && /\.(weight|g|scale)$/.test(name)) return [1, 0.1]; // gains, of norms for example
  if (name.endsWith('dwconv.weight')) return [0, 0.3];
  if (name.endsWith('.bias')) return [0, 0.1];
  if (shape.length === 1) return [0, 0.3]; // logarithms of factors, one per head
  return [0, 1 / Math.sqrt(shape[1])];
}

/** Random tokens, any of the vocabulary. */
export function randomTokens(model: Pick<CausalModel, 'sizes'>, count: number, seed: number): Int32Array {
  const random = new Random(seed);
  return Int32Array.from({ length: count }, () => random.integer(model.sizes.vocabulary));
}
