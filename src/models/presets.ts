/** Models by name: published sizes, and small ones to be trained from scratch. */
import { LinnetError } from '../errors.ts';
import { flashPresets } from './flash/presets.ts';
import { gpt2Shape, gpt2ShapeNames } from './gpt2/shapes.ts';
import { llamaShape, llamaShapeNames } from './llama/shapes.ts';

/** A LLaMA to be compared with `flash-small`: 3.0M parameters beside the vocabulary's. */
const llamaSmall = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 256,
  intermediate_size: 640,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  max_position_embeddings: 1024,
  tie_word_embeddings: false,
};

/** name → config.json */
const presets: ReadonlyMap<string, () => Record<string, unknown>> = new Map([
  ...Object.entries(flashPresets).map(([name, config]) => [name, () => ({ ...config })] as const),
  ...gpt2ShapeNames.map((name) => [name, () => gpt2Shape(name)] as const),
  ['llama-small', () => ({ ...llamaSmall })],
  ...llamaShapeNames.map((name) => [name, () => ({ ...llamaShape(name) })] as const),
]);

/** The names of causal models that `modelPreset` knows. */
export const modelPresetNames: readonly string[] = [...presets.keys()];

/**
 * The config.json of a model by name.
 * @throws LinnetError `CONFIG` for an unknown name
 */
export function modelPreset(name: string): Record<string, unknown> {
  const preset = presets.get(name);
  if (preset !== undefined) return preset();
  throw new LinnetError('CONFIG', `unknown model "${name}"; the presets are ${modelPresetNames.join(', ')}`);
}
