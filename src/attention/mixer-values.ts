/** What a mixer is given in a graph, in all its forms. */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { formatShape, sameShape } from '../graph/shape.ts';
import { describeMixer, type MixerConfig, mixerParameters } from './mixer.ts';

/** The learned parameters a mixer may have, by the names of `mixerParameters`. */
export interface MixerParameterValues {
  /** λ [1]. */
  readonly local_factor?: Value;
  /** α [1]. */
  readonly global_factor?: Value;
  /** Convolution taps [H,1,K,1]. */
  readonly 'dwconv.weight'?: Value;
  /** Learned feature map of the queries [H,D,D]. */
  readonly 'feature_map_q.weight'?: Value;
  /** Learned feature map of the keys [M,D,D]. */
  readonly 'feature_map_k.weight'?: Value;
  /** Linformer's projection of the keys [r,N], by blocks [r,G]. */
  readonly 'linformer_k.weight'?: Value;
  /** Linformer's projection of the values [r,N], by blocks [r,G]. */
  readonly 'linformer_v.weight'?: Value;
  /** Bias of a gated attention unit by bucket of distance [32,1]. */
  readonly 'rel_pos_bias.relative_attention_bias.weight'?: Value;
}

/**
 * Queries [B,n,H,D], keys [B,n,M,D] and values [B,n,M,E]; H is a multiple of M, and E is D in most families. All after
 * rotary embedding. For a `gau` mixer with both branches, D = 2·S: local and global rows side by side.
 */
export interface ProjectedPositions {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

/**
 * Refuses values that are not what the mixer needs: a forgotten α would count as 1, forgotten taps as no convolution.
 * @throws LinnetError `TENSOR` naming the parameter
 */
export function requireMixerParameters(
  config: MixerConfig,
  { q, k }: ProjectedPositions,
  values: MixerParameterValues,
): void {
  const sizes = { heads: Number(q.shape[2]), keyValueHeads: Number(k.shape[2]), headWidth: Number(q.shape[3]) };
  for (const { name, shape } of mixerParameters(config, sizes)) {
    const value = values[name];
    if (value !== undefined && sameShape(value.shape, shape)) continue;
    const given = value === undefined ? 'it is missing' : `got ${value}`;
    throw new LinnetError('TENSOR', `'${describeMixer(config)}' needs ${name} ${formatShape(shape)}; ${given}`);
  }
}
