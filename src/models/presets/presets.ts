/** Causal models by name, to be trained from scratch: published sizes, and small ones. */
import { flashSmallShape } from '../families/flash/presets.ts';
import { publishedShape, publishedShapeNames } from './published-shapes.ts';

const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'flash-small': flashSmallShape,
  /** To be compared with `flash-small`: 3.0M parameters next to the vocabulary's. */
  'llama-small': {
    model_type: 'llama',
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 640,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    max_position_embeddings: 1024,
  },
};

/** The names of causal models that `modelPreset` knows. */
export const modelPresetNames: readonly string[] = [...Object.keys(small), ...publishedShapeNames];

/** The config.json of a model by name. @throws LinnetError `CONFIG` for an unknown name */
export function modelPreset(name: string): Record<string, unknown> {
  return Object.hasOwn(small, name) ? { ...small[name] } : publishedShape(name);
}
