/** Gated DeltaNet layers around their mixer: projections, and the outputs' gated norm. */
import type { MixedRows } from '../../model.ts';
import { z } from 'zod';
import { type DeltaNetMixer, deltaNetSchema, forValueHeads } from '../../../attention/kinds/delta-net/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { parseMixer } from '../../../attention/mixers.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { mul, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { inHeads, joinedLinear, linear } from '../../../nn/linear.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import { configError, originalMixer } from '../../config-fields.ts';
import { type DecoderNames, ofLayers, type OwnLayer } from './config.ts';

/** The layers' config.json fields, as Qwen3.5 and OLMo-Hybrid write them. */
export const deltaNetFields = {
  layer_types: z.array(z.enum(['linear_attention', 'full_attention'])).nullish(),
  linear_conv_kernel_dim: deltaNetSchema.shape.kernel,
  linear_key_head_dim: deltaNetSchema.shape.keyWidth,
  linear_value_head_dim: deltaNetSchema.shape.valueWidth,
  linear_num_key_heads: deltaNetSchema.shape.keyHeads,
  linear_num_value_heads: deltaNetSchema.shape.heads,
};

type DeltaNetFields = z.infer<z.ZodObject<typeof deltaNetFields>>;

/**
 * A family's mixers by layer.
 * @param options that the family sets for the kind
 * @param isAttention whether a layer has attention, if there are no `layer_types`
 * @throws LinnetError `CONFIG` if types and layers differ in number, or heads do not share keys evenly
 */
export function deltaNetMixers(
  title: string,
  fields: DeltaNetFields & { readonly num_hidden_layers: number },
  options: Pick<DeltaNetMixer, 'doubled' | 'apart'>,
  isAttention: (layer: number) => boolean,
): readonly MixerConfig[] {
  const { linear_num_value_heads: heads, linear_num_key_heads: keyHeads, num_hidden_layers: layers } = fields;
  if (heads % keyHeads !== 0) {
    throw configError(title, [
      `linear_num_value_heads ${heads} must be a multiple of linear_num_key_heads ${keyHeads}`,
    ]);
  }
  const deltaNet = parseMixer({
    kind: 'delta-net',
    group: 8,
    heads,
    keyHeads,
    keyWidth: fields.linear_key_head_dim,
    valueWidth: fields.linear_value_head_dim,
    kernel: fields.linear_conv_kernel_dim,
    ...options,
  });
  return ofLayers(title, 'layer_types', layers, fields.layer_types, (layer) =>
    isAttention(layer) ? 'full_attention' : 'linear_attention',
  ).map((type) => (type === 'full_attention' ? originalMixer : deltaNet));
}

/** Results of the projections: q, k [B,T,keyHeads,D], v, z [B,T,heads,E], b, a [B,T,heads,1]. */
type Projected = Readonly<Record<'q' | 'k' | 'v' | 'z' | 'b' | 'a', Value>>;

type Outputs = Readonly<Record<string, number>>;

/** A family's projections by name, with their outputs. */
interface Projections {
  readonly outputs: (mixer: DeltaNetMixer) => Outputs;
  /** Projections to b and a, which stay in float32 whatever the others' storage: few weights, and decays multiply up. */
  readonly numbers: (mixer: DeltaNetMixer) => Outputs;
  /** @param products in the order of `outputs` and `numbers`, each [B,T,outputs] */
  readonly parts: (mixer: DeltaNetMixer, products: readonly Value[]) => Projected;
  /** Names of the outputs' norm and projection. Default: `norm`, `out_proj`. */
  readonly outputNames?: readonly [norm: string, output: string];
  /** ε in that norm. Default: the model's. */
  readonly normEpsilon?: number;
  /** Names of these layers' modules. Default: as in layers with attention. */
  readonly names?: DecoderNames;
}

/** Products [B,T,X] head by head. */
function partsInHeads({ heads, keyHeads }: DeltaNetMixer, [q, k, v, z, b, a]: readonly Value[]): Projected {
  const [queries, keys] = [q, k].map((rows) => inHeads(rows, keyHeads));
  return {
    q: queries,
    k: keys,
    v: inHeads(v, heads),
    z: inHeads(z, heads),
    b: inHeads(b, heads),
    a: inHeads(a, heads),
  };
}

/** One projection for all queries, then all keys, then all values; the others separate. */
export const joined: Projections = {
  outputs: ({ heads, keyHeads, keyWidth, valueWidth }) => ({
    in_proj_qkv: 2 * keyHeads * keyWidth + heads * valueWidth,
    in_proj_z: heads * valueWidth,
  }),
  numbers: ({ heads }) => ({ in_proj_b: heads, in_proj_a: heads }),
  parts(mixer, [qkv, ...others]) {
    const { heads, keyHeads, keyWidth, valueWidth } = mixer;
    const rows = split(qkv, 2, [keyHeads * keyWidth, keyHeads * keyWidth, heads * valueWidth]);
    return partsInHeads(mixer, [...rows, ...others]);
  },
};

/** Separate projections; g is the gate. */
export const apart: Projections = {
  outputs: ({ heads, keyHeads, keyWidth, valueWidth }) => ({
    q_proj: keyHeads * keyWidth,
    k_proj: keyHeads * keyWidth,
    v_proj: heads * valueWidth,
    g_proj: heads * valueWidth,
  }),
  numbers: ({ heads }) => ({ b_proj: heads, a_proj: heads }),
  parts: partsInHeads,
  outputNames: ['o_norm', 'o_proj'],
  normEpsilon: 1e-5,
};

/** Key head by key head: its query, key, values and z; then b and a. */
export const byKeyHead: Projections = {
  outputs: ({ heads, keyHeads, keyWidth, valueWidth }) => ({
    in_proj_qkvz: 2 * (keyHeads * keyWidth + heads * valueWidth),
  }),
  numbers: ({ heads }) => ({ in_proj_ba: 2 * heads }),
  parts({ heads, keyHeads, keyWidth, valueWidth }, [qkvz, ba]) {
    const shared = heads / keyHeads;
    const widths = [keyWidth, keyWidth, shared * valueWidth, shared * valueWidth];
    const [q, k, values, gates] = split(inHeads(qkvz, keyHeads), 3, widths);
    const [v, z, b, a] = [values, gates, ...split(inHeads(ba, keyHeads), 3, [shared, shared])].map((rows) => {
      const [B, T, , width] = rows.shape;
      return reshape(rows, [B, T, heads, Number(width) / shared]);
    });
    return { q, k, v, z, b, a };
  },
};

function products(
  source: ParameterSource,
  x: Value,
  width: number,
  outputs: Outputs,
  numbers: Outputs,
  enter: MixedRows['enter'],
): Value[] {
  const joined = joinedLinear(source, x, outputs);
  const large =
    joined === undefined
      ? Object.entries(outputs).map(([name, count]) => enter(linear(source, name, x, count)))
      : split(enter(joined), 2, Object.values(outputs));
  const own = enter(x);
  const small = Object.entries(numbers).map(([name, count]) =>
    matmul(own, source.parameter(`${name}.weight`, [count, width]), { transposeB: true }),
  );
  return [...large, ...small];
}

/** A family's layer with these projections. */
export function deltaNetLayer({ outputs, numbers, parts, names, ...family }: Projections): OwnLayer {
  const [norm, output] = family.outputNames ?? ['norm', 'out_proj'];
  return {
    prefix: 'linear_attn',
    names,
    declare(list, prefix, { width }, config) {
      const mixer = deltaNetSchema.parse(config);
      for (const [name, count] of Object.entries({ ...outputs(mixer), ...numbers(mixer) })) {
        list.add('matrix', `${prefix}.${name}.weight`, [count, width]);
      }
      list.add('norm', `${prefix}.${norm}.weight`, [mixer.valueWidth]);
      list.add('residual output', `${prefix}.${output}.weight`, [width, mixer.heads * mixer.valueWidth]);
    },
    mixed({ width, normEpsilon }, source, x, config, mix, { enter, leave }) {
      const mixer = deltaNetSchema.parse(config);
      const { q, k, v, z, b, a } = parts(mixer, products(source, x, width, outputs(mixer), numbers(mixer), enter));
      const rows = (of: Value, gate: Value): Value => concat([forValueHeads(mixer, of), gate], 3);
      const mixed = mix({ q: rows(q, b), k: rows(k, a), v }); // [B,T,heads,E]
      const gain = source.parameter(`${norm}.weight`, [mixer.valueWidth]);
      const [B, T] = mixed.shape;
      const sideBySide = (rows: Value): Value => reshape(rows, [B, T, mixer.heads * mixer.valueWidth]);
      const normal = sideBySide(rmsNorm(mixed, gain, family.normEpsilon ?? normEpsilon));
      return linear(source, output, leave(mul(normal, silu(sideBySide(z)))), width);
    },
  };
}
