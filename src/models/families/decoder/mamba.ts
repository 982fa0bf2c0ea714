/** Mamba-2 layers: their config.json fields, and the projections, gate and norm around their mixer. */
import { z } from 'zod';
import { mamba2Channels, type Mamba2Mixer, mamba2Schema } from '../../../attention/kinds/mamba2/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { parseMixer } from '../../../attention/mixers.ts';
import type { Value } from '../../../graph/graph.ts';
import { mul, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { biasedLinear, inHeads, linear } from '../../../nn/linear.ts';
import { configError } from '../../config-fields.ts';
import { type OwnLayer, times } from './config.ts';
import { offByDefault, positiveNumber } from '../../../files/schema-values.ts';

/** The largest dt; transformers writes infinity as an object. */
const mostStep = z.union([positiveNumber, z.strictObject({ __float__: z.literal('Infinity') }).transform(() => null)]);

/** A Mamba-2 layer's fields, as Granite and Falcon-H1 write them. */
export const mambaFields = {
  mamba_n_heads: mamba2Schema.shape.heads.default(128),
  mamba_n_groups: mamba2Schema.shape.groups,
  mamba_d_state: mamba2Schema.shape.state.default(256),
  mamba_d_head: z.union([mamba2Schema.shape.headWidth, z.literal('auto')]).default('auto'),
  mamba_d_conv: mamba2Schema.shape.kernel,
  mamba_expand: positiveNumber.default(2),
  mamba_conv_bias: mamba2Schema.shape.bias,
  mamba_proj_bias: offByDefault,
  time_step_limit: z.tuple([z.number().min(0), mostStep.nullable()]).nullish(),
};

/** Mamba-2 fields that the authors' code does not read, or that change no result. */
export const harmlessOfMamba = ['mamba_chunk_size', 'time_step_min', 'time_step_max', 'time_step_floor'];

type MambaFields = z.infer<z.ZodObject<typeof mambaFields>>;

/**
 * A Mamba-2 layer's mixer.
 * @param channels dI: heads times their width
 * @throws LinnetError `CONFIG` if the heads do not fill the channels, or are not a multiple of the groups
 */
export function mambaMixer(title: string, fields: MambaFields, channels: number): MixerConfig {
  const { mamba_n_heads: heads, mamba_d_head, mamba_n_groups: groups, time_step_limit: limits } = fields;
  const headWidth = mamba_d_head === 'auto' ? channels / heads : mamba_d_head;
  if (heads * headWidth !== channels || !Number.isInteger(headWidth)) {
    throw configError(title, [
      `mamba_n_heads ${heads} times mamba_d_head must be the ${channels} channels of the layer`,
    ]);
  }
  if (heads % groups !== 0) {
    throw configError(title, [`mamba_n_groups ${groups} does not divide mamba_n_heads ${heads}`]);
  }
  return parseMixer({
    kind: 'mamba2',
    heads,
    headWidth,
    state: fields.mamba_d_state,
    groups,
    kernel: fields.mamba_d_conv,
    bias: fields.mamba_conv_bias,
    least: limits?.[0],
    most: limits?.[1],
  });
}

/** How families differ. */
export interface MambaLayer {
  readonly inputBias: boolean;
  readonly outputBias: boolean;
  /** Parts of the channels with a norm each, after the gate; 0: no norm. Default 1. */
  readonly norms?: number;
  /** Factors on the input, on in_proj's parts (gate, x, B, C, dt), and on the output. Default: 1. */
  readonly scales?: { readonly input: number; readonly parts: readonly number[]; readonly output: number };
}

/** The parts of in_proj's result: gate, x, B, C and dt. */
function projected(mixer: Mamba2Mixer): readonly number[] {
  const [channels, ...shared] = mamba2Channels(mixer);
  return [channels, channels, ...shared, mixer.heads];
}

/** A family's layer. */
export function mambaLayer({ inputBias, outputBias, norms = 1, scales }: MambaLayer): OwnLayer {
  return {
    prefix: 'mamba',
    declare(list, prefix, { width }, config) {
      const sizes = projected(mamba2Schema.parse(config));
      const total = sizes.reduce((a, b) => a + b);
      list.add('matrix', `${prefix}.in_proj.weight`, [total, width]);
      if (inputBias) list.add('bias', `${prefix}.in_proj.bias`, [total]);
      if (norms > 0) list.add('norm', `${prefix}.norm.weight`, [sizes[0]]);
      list.add('residual output', `${prefix}.out_proj.weight`, [width, sizes[0]]);
      if (outputBias) list.add('bias', `${prefix}.out_proj.bias`, [width]);
    },
    mixed({ width, normEpsilon }, source, x, config, mix) {
      const mixer = mamba2Schema.parse(config);
      const sizes = projected(mixer);
      const [channels] = sizes;
      const total = sizes.reduce((a, b) => a + b);
      const projections = (inputBias ? biasedLinear : linear)(source, 'in_proj', times(x, scales?.input), total);
      const [gate, ...parts] = split(projections, 2, sizes).map((part, i) => times(part, scales?.parts[i]));
      const [B, T] = x.shape;
      const [values, keys, queries, steps] = parts.map((part) => inHeads(part, mixer.groups));
      const rows = { q: concat([queries, steps], 3), k: concat([keys, steps], 3), v: values };
      const gated = mul(reshape(mix(rows), [B, T, channels]), silu(gate));
      const normal =
        norms === 0 ? gated : normed(gated, source.parameter('norm.weight', [channels]), norms, normEpsilon);
      return times((outputBias ? biasedLinear : linear)(source, 'out_proj', normal, width), scales?.output);
    },
  };
}

/** RMS norms over `parts` parts of x [B,T,channels]. */
function normed(x: Value, gain: Value, parts: number, epsilon: number): Value {
  if (parts === 1) return rmsNorm(x, gain, epsilon);
  const [B, T, channels] = x.shape;
  const each = Number(channels) / parts;
  const ones = x.graph.sharedNumbers(`ones ${each}`, [each], () => 1);
  const unit = rmsNorm(reshape(x, [B, T, parts, each]), ones, epsilon);
  return mul(reshape(unit, [B, T, channels]), gain);
}
