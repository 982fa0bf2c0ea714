/**
 * What the oracle is given, and what its positions see of one another: sizes, rows, ancestors, taps.
 *
 * Positions form a tree: `parents` gives the position before each one, and its place in the sequence is its depth.
 */
import { LinnetError } from '../errors.ts';
import {
  convolutionOf,
  convolutionReach,
  type HeadCounts,
  type MixerConfig,
  type MixerParameter,
  mixerParameters,
  requireCrossing,
} from './mixer.ts';
import { addScaled } from './naive-rows.ts';

/** Sizes of one sequence of one layer. */
export interface NaiveDims extends HeadCounts {
  /** n: number of positions. */
  readonly length: number;
  /** d: width of a query or key row. */
  readonly headDim: number;
  /** e: width of a value row; default d. */
  readonly valueDim?: number;
  /** Positions of keys and values, in cross attention; default n. Needs a `keyMask`. */
  readonly keyLength?: number;
}

/** What is mixed. Arrays are row-major. */
export interface NaiveInput {
  readonly dims: NaiveDims;
  /** Queries [H,n,d], raw: with their rotary position, not normalized. */
  readonly q: Float64Array;
  /** Keys [Hkv,n,d], raw. Query head h reads key-value head ⌊h/(H/Hkv)⌋. */
  readonly k: Float64Array;
  /** Values [Hkv,n,e]. */
  readonly v: Float64Array;
  /** α; needed when the global scale is learned. */
  readonly alpha?: number;
  /** λ; needed when the local scale is learned. */
  readonly lambda?: number;
  /** Convolution filters [H,K]; tap P−τ weighs lag τ. Needed with a convolution. */
  readonly taps?: Float64Array;
  /** Learned feature maps: of queries [H,d,d], of keys [Hkv,d,d]. Needed with a learned map. */
  readonly featureMaps?: { readonly queries?: Float64Array; readonly keys?: Float64Array };
  /** Linformer's projections of keys and of values, [r,N] each, by blocks [r,G]. */
  readonly projections?: { readonly keys?: Float64Array; readonly values?: Float64Array };
  /** Bias by bucket of distance [32]. Needed with a `gau` mixer. */
  readonly biases?: Float64Array;
  /** Parent of every position [n]; −1 for the first. Default: the chain −1, 0, 1, … */
  readonly parents?: Int32Array;
  /**
   * 1 for a token, 0 for padding, which nobody reads [n, or `keyLength`]. Given, the text is an encoder's: every position
   * reads all tokens, before it and behind it. Default: every position reads its past.
   */
  readonly keyMask?: Float64Array;
}

/** A view of row `row` of head `head` of an array [heads, length, width]. */
export function rowOf(array: Float64Array, head: number, row: number, length: number, width: number): Float64Array {
  const start = (head * length + row) * width;
  return array.subarray(start, start + width);
}

function requireLength(name: string, array: Float64Array | undefined, shape: readonly number[]): void {
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (array?.length === count) return;
  throw new LinnetError(
    'SHAPE',
    `${name} must hold [${shape.join(',')}] = ${count} numbers, got ${array?.length ?? 'none'}`,
  );
}

/** Depths, after checking that every parent comes earlier. */
function depthsOf(parents: Int32Array): Int32Array {
  const depths = new Int32Array(parents.length);
  for (const [position, parent] of parents.entries()) {
    if (parent < -1 || parent >= position) {
      throw new LinnetError('INPUT', `position ${position} has parent ${parent}; expected -1 or an earlier position`);
    }
    if (parent >= 0) depths[position] = depths[parent] + 1;
  }
  return depths;
}

function checkMask({ keyMask, parents }: NaiveInput, keyLength: number): void {
  if (keyMask === undefined) return;
  requireLength('keyMask', keyMask, [keyLength]);
  if (keyMask.some((token) => token !== 0 && token !== 1)) {
    throw new LinnetError('INPUT', 'a mask of keys holds 1 for tokens and 0 for padding, nothing else');
  }
  if (parents !== undefined) {
    throw new LinnetError('INPUT', 'a tree of positions is causal: give parents or a mask of keys, not both');
  }
}

/** What a live tap of the convolution reads. */
export interface TapRead {
  readonly tap: number;
  readonly position: number;
}

/** A checked input: the tree of its positions, and views of its rows. */
export class NaivePositions {
  readonly input: NaiveInput;
  readonly depths: Int32Array;
  readonly valueDim: number;
  /** Positions of keys and values. */
  readonly keyLength: number;
  readonly #config: MixerConfig;
  readonly #parents: Int32Array;

  /**
   * @throws LinnetError `SHAPE` for arrays of the wrong length; `INPUT` for parents out of order, an unmasked
   *   convolution over a tree with branches, where "the next position" means nothing, a mask that is not of 0
   *   and 1, or one for a tree; `CONFIG` for a mixer that has no cross attention.
   */
  constructor(config: MixerConfig, input: NaiveInput) {
    const { heads, keyValueHeads, length, headDim, valueDim = headDim, keyLength = length } = input.dims;
    if (heads % keyValueHeads !== 0) {
      throw new LinnetError('SHAPE', `${heads} query heads cannot share ${keyValueHeads} key-value heads evenly`);
    }
    requireLength('q', input.q, [heads, length, headDim]);
    requireLength('k', input.k, [keyValueHeads, keyLength, headDim]);
    requireLength('v', input.v, [keyValueHeads, keyLength, valueDim]);
    const given: Readonly<Record<MixerParameter['name'], Float64Array | undefined>> = {
      'dwconv.weight': input.taps,
      'feature_map_q.weight': input.featureMaps?.queries,
      'feature_map_k.weight': input.featureMaps?.keys,
      'linformer_k.weight': input.projections?.keys,
      'linformer_v.weight': input.projections?.values,
      'rel_pos_bias.relative_attention_bias.weight': input.biases,
      // Numbers, whose presence the formula checks.
      local_factor: Float64Array.of(0),
      global_factor: Float64Array.of(0),
    };
    for (const { name, shape } of mixerParameters(config, { heads, keyValueHeads, headWidth: headDim })) {
      requireLength(name, given[name], shape);
    }
    const parents = input.parents ?? Int32Array.from({ length }, (_, position) => position - 1);
    if (parents.length !== length) {
      throw new LinnetError('SHAPE', `${parents.length} parents were given for ${length} positions`);
    }
    if (convolutionOf(config)?.masked === false && parents.some((parent, position) => parent !== position - 1)) {
      throw new LinnetError('INPUT', 'an unmasked convolution reads the next positions, which only a chain has');
    }
    checkMask(input, keyLength);
    if (keyLength !== length) requireCrossing(config);
    this.input = input;
    this.valueDim = valueDim;
    this.keyLength = keyLength;
    this.depths = depthsOf(parents);
    this.#config = config;
    this.#parents = parents;
  }

  /** The positions from `position` back to its root, itself first. */
  lineage(position: number): number[] {
    const found: number[] = [];
    for (let at = position; at >= 0; at = this.#parents[at]) found.push(at);
    return found;
  }

  /** The positions that `position` may read: all tokens of an encoder's text, else its ancestors and itself. */
  seen(position: number): number[] {
    const { keyMask } = this.input;
    if (keyMask === undefined) return this.lineage(position);
    return Array.from(keyMask.keys()).filter((other) => keyMask[other] === 1);
  }

  /** What each live tap of the convolution reads. */
  taps(position: number): TapRead[] {
    const convolution = convolutionOf(this.#config);
    if (convolution === null) return [];
    const { kernel, masked } = convolution;
    const reach = convolutionReach(kernel);
    const { keyMask } = this.input;
    if (keyMask !== undefined) {
      const centred = Array.from({ length: kernel }, (_, tap) => ({ tap, position: position + tap - reach }));
      return centred.filter((read) => keyMask[read.position] === 1);
    }
    // The past: lag τ is the τ-th ancestor.
    const lineage = this.lineage(position).slice(0, reach + 1);
    const reads = lineage.map((ancestor, lag) => ({ tap: reach - lag, position: ancestor }));
    if (masked) return reads;
    for (let tap = reach + 1; tap < kernel && position + tap - reach < this.input.dims.length; tap++) {
      reads.push({ tap, position: position + tap - reach });
    }
    return reads;
  }

  /** The key-value head of a query head. */
  keyValueHead(head: number): number {
    return Math.floor(head / (this.input.dims.heads / this.input.dims.keyValueHeads));
  }

  query(head: number, position: number): Float64Array {
    return rowOf(this.input.q, head, position, this.input.dims.length, this.input.dims.headDim);
  }

  key(keyValueHead: number, position: number): Float64Array {
    return rowOf(this.input.k, keyValueHead, position, this.keyLength, this.input.dims.headDim);
  }

  value(keyValueHead: number, position: number): Float64Array {
    return rowOf(this.input.v, keyValueHead, position, this.keyLength, this.valueDim);
  }

  /** out += Σ w[tap]·v over the taps of a position. */
  addConvolution(head: number, position: number, out: Float64Array): void {
    const convolution = convolutionOf(this.#config);
    const { taps } = this.input;
    if (convolution === null || taps === undefined) return;
    for (const read of this.taps(position)) {
      const value = this.value(this.keyValueHead(head), read.position);
      addScaled(out, taps[head * convolution.kernel + read.tap], value);
    }
  }
}
