/** What a mixer is given in a graph, in all its forms. */
import type { Value } from '../graph/graph.ts';

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
  /** Linformer's projection of the keys [r,N]. */
  readonly 'linformer_k.weight'?: Value;
  /** Linformer's projection of the values [r,N]. */
  readonly 'linformer_v.weight'?: Value;
}

/** Queries [B,n,H,D], keys and values [B,n,M,D]; H is a multiple of M. All after rotary embedding. */
export interface ProjectedPositions {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}
