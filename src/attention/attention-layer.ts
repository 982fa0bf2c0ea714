/** An attention layer independent of its mixer: sizes, parameters, positions, a step's rows. */
import type { Value } from '../graph/graph.ts';
import type { ParameterInit } from './parameter-init.ts';
import { internalError } from '../errors.ts';

/** Head counts of an attention layer; `keyValueHeads` divides `heads` (grouped-query attention). */
export interface HeadCounts {
  /** H. */
  readonly heads: number;
  /** M. */
  readonly keyValueHeads: number;
}

/** Sizes of an attention layer. */
export interface AttentionDims extends HeadCounts {
  /** D: width of queries and keys; S in a gated attention unit. */
  readonly headWidth: number;
  /** E: width of values; default D. */
  readonly valueWidth?: number;
}

/** A parameter that a mixer adds to its attention layer, besides the projections. */
export interface MixerParameter {
  /** Name inside the layer, as in the reference checkpoints: "dwconv.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Its initial values in a model that is linearized. */
  readonly init: ParameterInit;
}

/** A mixer's learned parameters in a graph, by the names in `parameters`. */
export type MixerParameterValues = Readonly<Partial<Record<string, Value>>>;

/** A parameter of a mixer; parameters are checked before the graph is made. */
export function learnedParameter(parameters: MixerParameterValues, name: string): Value {
  const value = parameters[name];
  if (value === undefined) throw internalError(`a mixer without its ${name}`);
  return value;
}

/** Queries [B,n,H,D], keys [B,n,M,D] and values [B,n,M,E] after rotary embedding; H is a multiple of M. */
export interface ProjectedPositions {
  readonly q: Value;
  /**
   * Queries for the sinks: rotated as at the farthest position the model was trained for, if their own is farther. Default:
   * `q`.
   */
  readonly far?: Value;
  readonly k: Value;
  readonly v: Value;
}

/** How far a mixer sees: numbers that determine masks and state. */
export interface Horizon {
  /** G: positions per group; infinite if one group never ends, as in softmax attention. */
  readonly group: number;
  /**
   * The largest distinct offset: P = (K−1)/2 for a convolution, or farther if scores depend on the distance; −1 without
   * either, so that not even offset 0 is in reach.
   */
  readonly reach: number;
  /** W: groups read row by row, including the current one. Default 1. */
  readonly window?: number;
  /** Positions folded at once: whole groups. Default G. */
  readonly span?: number;
  /** First positions of a text that every position reads row by row, whatever their group. Default 0. */
  readonly sinks?: number;
}

/** Masks and offsets of one block of rows (the ring or the tree), for all B·T nodes: see `masks.ts`. */
export interface StepMasks {
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor (or the node) that the node reads one by one: in its window, or a sink. */
  readonly same: Value;
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor before the window, not yet folded into the state. */
  readonly earlier: Value;
  /** int32 [B,T,rows]: offset τ in 0…P, or P + 1 for unseen or farther rows; P is the horizon's reach. */
  readonly offsets: Value;
}

/** Rows that a step's nodes read, with their masks. */
export interface StepBlock {
  /** [B,M,rows,D] */
  readonly keys: Value;
  /** [B,M,rows,E] */
  readonly values: Value;
  readonly masks: StepMasks;
}
