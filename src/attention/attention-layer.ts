/** An attention layer independent of its mixer: sizes, parameters, positions, rows of a step. */
import type { Value } from '../graph/graph.ts';
import type { ParameterInit } from './parameter-init.ts';
import { internalError } from '../errors.ts';

/** Number of heads of an attention layer; `keyValueHeads` divides `heads` (grouped-query attention). */
export interface HeadCounts {
  /** H. */
  readonly heads: number;
  /** M. */
  readonly keyValueHeads: number;
}

/** Sizes of an attention layer. */
export interface AttentionDims extends HeadCounts {
  /** D: width of queries and keys; in a gated attention unit S. */
  readonly headWidth: number;
  /** E: width of values; default D. */
  readonly valueWidth?: number;
}

/** A parameter that a mixer adds to its attention layer, next to the projections. */
export interface MixerParameter {
  /** Name inside the layer, as in the reference checkpoints: "dwconv.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Its initialization when a model is linearized. */
  readonly init: ParameterInit;
}

/** The learned parameters of a mixer in a graph, by the names of its `parameters`. */
export type MixerParameterValues = Readonly<Partial<Record<string, Value>>>;

/** A parameter of a mixer, whose parameters have been checked before its graph is made. */
export function learnedParameter(parameters: MixerParameterValues, name: string): Value {
  const value = parameters[name];
  if (value === undefined) throw internalError(`a mixer without its ${name}`);
  return value;
}

/** Queries [B,n,H,D], keys [B,n,M,D] and values [B,n,M,E] after rotary embedding; H is a multiple of M. */
export interface ProjectedPositions {
  readonly q: Value;
  /**
   * Queries for the sinks: turned as at the farthest position that the model was trained for, where their own is farther.
   * Default: `q`.
   */
  readonly far?: Value;
  readonly k: Value;
  readonly v: Value;
}

/** How far a mixer sees, in numbers from which masks and the state follow. */
export interface Horizon {
  /** G: positions per group; infinite where one group never ends, as in softmax attention. */
  readonly group: number;
  /**
   * The largest offset that counts apart: P = (K−1)/2 of a convolution, or farther where scores depend on the distance; −1
   * without either, so that not even offset 0 is in reach.
   */
  readonly reach: number;
  /** W: groups that are read row by row, the own one included. Default 1. */
  readonly window?: number;
  /** Positions that are folded at once: whole groups. Default G. */
  readonly span?: number;
  /** The first positions of a text that every position reads row by row, whatever their group. Default 0. */
  readonly sinks?: number;
}

/** Masks and offsets of one block of rows (the ring or the tree), for all B·T nodes: see `masks.ts`. */
export interface StepMasks {
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor (or the node) that the node reads one by one: of its window, or a sink. */
  readonly same: Value;
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor before the window that is not yet folded into the state. */
  readonly earlier: Value;
  /** int32 [B,T,rows]: offset τ in 0…P, or P + 1 for rows that are not seen or farther; P is the horizon's reach. */
  readonly offsets: Value;
}

/** Rows that the nodes of a step look at, with their masks. */
export interface StepBlock {
  /** [B,M,rows,D] */
  readonly keys: Value;
  /** [B,M,rows,E] */
  readonly values: Value;
  readonly masks: StepMasks;
}
