/** config.json of LLaMA checkpoints and others of the same architecture: TinyLlama, SmolLM2. */
import { z } from 'zod';
import {
  type DecoderConfig,
  type DecoderVariant,
  decoderFields,
  onlyValue,
  parseDecoderConfig,
} from '../decoder/config.ts';

const variant: DecoderVariant = { family: 'llama', title: 'LLaMA', className: 'Llama' };

const llamaSchema = z.object({
  ...decoderFields,
  model_type: z.literal('llama'),
  attention_bias: onlyValue(false, 'projections have no biases'),
  mlp_bias: onlyValue(false, 'projections have no biases'),
  rope_interleaved: onlyValue(false, 'the halves of a head are turned together'),
});

/** Fields that conversions of the first LLaMA, SmolLM2 and fine-tuning tools add. */
const harmless = ['max_sequence_length', 'is_llama_config', 'unsloth_version', 'unsloth_fixed'];

/** Checks a parsed config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values */
export function parseLlamaConfig(json: Readonly<Record<string, unknown>>): DecoderConfig {
  return parseDecoderConfig(variant, llamaSchema, json, harmless);
}
