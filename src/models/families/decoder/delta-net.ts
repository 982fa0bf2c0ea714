/** Layers of Gated DeltaNet around their mixer: projections, and the gated norm of their outputs. */
import {
  type DeltaNetMixer,
  deltaNetSchema,
  forValueHeads,
  gatedBy,
} from '../../../attention/kinds/delta-net/config.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { inHeads, joinedLinear, linear } from '../../../nn/linear.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import type { OwnLayer } from './config.ts';

/** Results of the projections: q, k [B,T,keyHeads,D], v, z [B,T,heads,E], b, a [B,T,heads,1]. */
type Projected = Readonly<Record<'q' | 'k' | 'v' | 'z' | 'b' | 'a', Value>>;

type Outputs = Readonly<Record<string, number>>;

/** The projections of a family by name, each with its outputs. */
interface Projections {
  readonly outputs: (mixer: DeltaNetMixer) => Outputs;
  /** Those of b and a, which stay in float32 whatever the others are stored in: few weights, and decays multiply up. */
  readonly numbers: (mixer: DeltaNetMixer) => Outputs;
  /** @param products in the order of `outputs` and `numbers`, each [B,T,outputs] */
  readonly parts: (mixer: DeltaNetMixer, products: readonly Value[]) => Projected;
}

/** All queries, then all keys, then all values in one; the others apart. */
export const apart: Projections = {
  outputs: ({ heads, keyHeads, keyWidth, valueWidth }) => ({
    in_proj_qkv: 2 * keyHeads * keyWidth + heads * valueWidth,
    in_proj_z: heads * valueWidth,
  }),
  numbers: ({ heads }) => ({ in_proj_b: heads, in_proj_a: heads }),
  parts({ heads, keyHeads, keyWidth, valueWidth }, [qkv, z, b, a]) {
    const [queries, keys, values] = split(qkv, 2, [keyHeads * keyWidth, keyHeads * keyWidth, heads * valueWidth]);
    const [q, k] = [queries, keys].map((rows) => inHeads(rows, keyHeads));
    return { q, k, v: inHeads(values, heads), z: inHeads(z, heads), b: inHeads(b, heads), a: inHeads(a, heads) };
  },
};

/** Head by head of keys: its query, key, values and z; b and a. */
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

function products(source: ParameterSource, x: Value, width: number, outputs: Outputs, numbers: Outputs): Value[] {
  const joined = joinedLinear(source, x, width, outputs);
  const large =
    joined === undefined
      ? Object.entries(outputs).map(([name, count]) => linear(source, name, x, width, count))
      : split(joined, 2, Object.values(outputs));
  const small = Object.entries(numbers).map(([name, count]) =>
    matmul(x, source.parameter(`${name}.weight`, [count, width]), { transposeB: true }),
  );
  return [...large, ...small];
}

/** The layer of a family with these projections. */
export function deltaNetLayer({ outputs, numbers, parts }: Projections): OwnLayer {
  return {
    prefix: 'linear_attn',
    declare(list, prefix, { width }, config) {
      const mixer = deltaNetSchema.parse(config);
      for (const [name, count] of Object.entries({ ...outputs(mixer), ...numbers(mixer) })) {
        list.add('matrix', `${prefix}.${name}.weight`, [count, width]);
      }
      list.add('norm', `${prefix}.norm.weight`, [mixer.valueWidth]);
      list.add('residual output', `${prefix}.out_proj.weight`, [width, mixer.heads * mixer.valueWidth]);
    },
    mixed({ width, normEpsilon }, source, x, config, mix) {
      const mixer = deltaNetSchema.parse(config);
      const { q, k, v, z, b, a } = parts(mixer, products(source, x, width, outputs(mixer), numbers(mixer)));
      const rows = (of: Value, gate: Value): Value => concat([forValueHeads(mixer, of), gate], 3);
      const mixed = mix({ q: rows(q, b), k: rows(k, a), v }); // [B,T,heads,E]
      const normal = rmsNorm(mixed, source.parameter('norm.weight', [mixer.valueWidth]), normEpsilon);
      const [B, T] = x.shape;
      const channels = mixer.heads * mixer.valueWidth;
      return linear(source, 'out_proj', reshape(mul(normal, gatedBy(z)), [B, T, channels]), channels, width);
    },
  };
}
