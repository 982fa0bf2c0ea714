/**
 * What a causal language model is to the rest of the toolkit: its sizes, its mixers, its parameters, and two pieces of
 * graph, written once: the trunk and the head. Training, perplexity and decoding differ only in where parameters come
 * from (`ParameterSource`) and in how a layer mixes positions (`MixLayer`).
 */

import type { MixerConfig } from '../attention/mixer.ts';
import type { ProjectedPositions } from '../attention/parallel.ts';
import type { Value } from '../graph/graph.ts';
import type { ParameterShapes, ParameterSource } from '../nn/parameters.ts';
import type { PositionEncoding, PositionValues } from '../nn/positions.ts';

/** Sizes every family has. */
export interface ModelSizes {
  readonly layers: number;
  readonly width: number;
  /** H. */
  readonly heads: number;
  /** M; equal to `heads` without grouped-query attention. */
  readonly keyValueHeads: number;
  /** D = E. */
  readonly headWidth: number;
  /** V. */
  readonly vocabulary: number;
  /** The context length the model was trained for. */
  readonly trainedLength: number;
}

/** Mixes the positions of one layer: q [B,T,H,D], k and v [B,T,M,D] → [B,T,H,D]. */
export type MixLayer = (layer: number, positions: ProjectedPositions) => Value;

/** A model family's description of one model, made from a config.json. No weights. */
export interface CausalModel {
  /** "llama", "gpt2". */
  readonly family: string;
  readonly sizes: ModelSizes;
  /** One mixer per layer. */
  readonly mixers: readonly MixerConfig[];
  /** What the trunk reads about positions. */
  readonly positions: PositionEncoding;
  /** All parameters, the mixers' included. Names are those of a Hugging Face checkpoint. */
  readonly parameters: ParameterShapes;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** config.json with the `linnet` section that names the mixers. */
  toJson(): Record<string, unknown>;
  /** The same model with other mixers. */
  withMixers(mixers: readonly MixerConfig[]): CausalModel;
  /** Tokens int32 [B,T] → hidden states after the final norm [B,T,width]. */
  trunk(source: ParameterSource, tokens: Value, positions: PositionValues, mix: MixLayer): Value;
  /** Hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
  /** The prefix of layer `index`'s attention parameters: "model.layers.0.self_attn". */
  attentionPrefix(index: number): string;
  /**
   * The name in `parameters` of a tensor that checkpoints store as `stored`; undefined for tensors that follow from the
   * configuration (masks, frequency tables, the copy of a tied head). Unknown names are given back as they are.
   */
  readonly parameterName: (stored: string) => string | undefined;
}
