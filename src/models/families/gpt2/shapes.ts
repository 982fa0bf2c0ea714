/** The published sizes of GPT-2, as config.json for `describeCausalModel` and pre-training. */
import { namedShape } from '../../presets/named-shapes.ts';

const shapes = {
  gpt2: { n_layer: 12, n_embd: 768, n_head: 12 },
  'gpt2-medium': { n_layer: 24, n_embd: 1024, n_head: 16 },
  'gpt2-large': { n_layer: 36, n_embd: 1280, n_head: 20 },
  'gpt2-xl': { n_layer: 48, n_embd: 1600, n_head: 25 },
};

/** The names that `gpt2Shape` knows: 124M, 355M, 774M and 1.6B parameters. */
export const gpt2ShapeNames: readonly string[] = Object.keys(shapes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function gpt2Shape(name: string): Record<string, unknown> {
  return {
    model_type: 'gpt2',
    vocab_size: 50257,
    n_positions: 1024,
    ...namedShape('GPT-2', shapes, name),
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
    bos_token_id: 50256,
    eos_token_id: 50256,
  };
}
