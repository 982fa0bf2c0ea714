/** Configuration of FLASH (Hua et al., arXiv 2202.10447): gated attention units, trained from scratch in the paper. */
import { z } from 'zod';
import { type GauMixer, gauSchema, unitForm } from '../../../attention/kinds/gau/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import {
  type ReadFields,
  configError,
  layerCount,
  linnetSectionOf,
  mixerProblems,
  parseConfigFields,
  everyLayer,
  originalMixer,
  size,
  textEndFields,
} from '../../config-fields.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { offByDefault, onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

const flashSchema = z.object({
  model_type: z.literal('flash'),
  vocab_size: size,
  /** D. */
  dim: size.refine((dim) => dim % 2 === 0, 'must be even: half of the features are shifted by a token'),
  depth: layerCount,
  /** G. */
  group_size: whole(1, 65536).default(256),
  /** S. */
  query_key_dim: size.refine((dim) => dim % 2 === 0, 'must be even: rotary embedding rotates pairs').default(128),
  /** E = ⌊expansion_factor · dim⌋. */
  expansion_factor: positiveNumber.default(2),
  causal: onByDefault,
  /** φ in the local branch and in `square`. */
  activation: z.enum(['relu2', 'laplace']).default('laplace'),
  norm: z.enum(['scalenorm', 'layernorm']).default('scalenorm'),
  shift_tokens: onByDefault,
  /**
   * `mixed`: groups, as in the paper. Whole-sequence baselines: `softmax`, and `square`, φ(q·k/n + bias). `square-original`
   * is the reference code's φ((q·k/n + bias)/n): dividing by n twice makes attention almost constant.
   */
  attention: z.enum(['mixed', 'softmax', 'square', 'square-original']).default('mixed'),
  /** Branches of `mixed`. */
  local: onByDefault,
  global: onByDefault,
  /** K of one filter per layer, shared by all channels; null for none. Only with `mixed`. */
  convolution: whole(1, 65535)
    .refine((length) => length % 2 === 1, 'the kernel length must be odd, so that it has a centre weight')
    .nullable()
    .default(null),
  castling: offByDefault,
  /** Non-causal global branch: one sum over all groups; false reads only the current group's. */
  reduce_groups: onByDefault,
  /** Tokens per training sequence; divides whole sequences' scores (the reference code divides by the input's length). */
  trained_length: size.default(1024),
  ...textEndFields,
  /** Mixers that replace those of `attention`, `local`, `global`, `convolution` and `castling`. */
  linnet: linnetSectionOf('flash'),
});

/** A checked configuration. */
export type FlashConfig = ReadFields<typeof flashSchema>;
/** A FLASH configuration as input; fields may be omitted. */
export type FlashConfigInput = z.input<typeof flashSchema>;

/** Checks a configuration and fills in the defaults. @throws LinnetError `CONFIG` naming every wrong or unknown field */
export function parseFlashConfig(json: JsonObject): FlashConfig {
  const config = parseConfigFields('FLASH', flashSchema, json);
  const problems: string[] = [];
  if (config.attention === 'mixed') {
    if (!config.local && !config.global) problems.push('local and global are both off: one of them must be on');
    if (config.castling && config.convolution === null) problems.push('castling needs a convolution');
  } else if (config.convolution !== null || config.castling) {
    problems.push(`convolution and castling belong to attention "mixed", not to "${config.attention}"`);
  }
  if (flashValueWidth(config) < 1)
    problems.push(`expansion_factor ${config.expansion_factor} leaves no value features`);
  const natives = everyLayer(config.depth, originalMixer);
  problems.push(...mixerProblems(config.linnet?.mixers ?? natives, natives, 'depth'));
  if (config.linnet !== undefined && !config.causal) problems.push('linnet.mixers needs causal true');
  if (problems.length > 0) throw configError('FLASH', problems);
  return config;
}

/** E. */
export function flashValueWidth({ expansion_factor, dim }: FlashConfig): number {
  return Math.floor(expansion_factor * dim);
}

/** The mixer that a configuration's fields describe. */
export function nativeMixer(config: FlashConfig): GauMixer {
  const { attention, activation, group_size: group, local, global, castling, trained_length: n } = config;
  if (attention === 'mixed') {
    const convolution = config.convolution === null ? null : { kernel: config.convolution };
    const branch = local ? { kernel: activation } : null;
    return gauSchema.parse({ kind: 'gau', group, local: branch, global, convolution, castling });
  }
  const whole = { kind: 'gau', group: null, global: false } as const;
  if (attention === 'softmax') return gauSchema.parse({ ...whole, local: { kernel: 'softmax', divisor: n } });
  if (attention === 'square') return gauSchema.parse({ ...whole, local: { kernel: activation, divisor: n } });
  return gauSchema.parse({ ...whole, local: { kernel: activation, divisor: n * n, biasDivisor: n } });
}

/** The form `mixer` takes in this model's units: see `unitForm`. */
export function unitMixer({ activation }: FlashConfig, mixer: MixerConfig): MixerConfig {
  return unitForm(mixer, activation);
}

/** Every layer's mixer. */
export function unitMixers(config: FlashConfig): readonly MixerConfig[] {
  const native = nativeMixer(config);
  return Array.from({ length: config.depth }, (_, layer) => {
    const entry = config.linnet?.mixers[layer];
    return entry === undefined ? native : unitMixer(config, entry);
  });
}
