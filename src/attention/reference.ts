/**
 * The references: every kind's formula as float64 loops over heads, positions and their past, which tests hold every other
 * form to. Written for clarity, not speed. This file is their common part: input and visibility of positions.
 *
 * Positions form a tree: `parents` gives the position before each one. A position sees its ancestors and itself, and its
 * depth is its position in the sequence. A sequence is a chain; a committed prefix followed by a candidate tree is one
 * bigger tree. With a key mask the text is an encoder's, and a position sees all tokens.
 */
import { LinnetError } from '../errors.ts';
import type { BucketScheme } from '../nn/relative-positions.ts';
import type { AttentionDims, MixerParameter } from './attention-layer.ts';
import { type ConvolutionConfig, convolutionReach, filterName } from './convolution-config.ts';

/** ⟨a, b⟩. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** y ← y + scale·x. */
export function addScaled(y: Float64Array, scale: number, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i] += scale * x[i];
}

/** The normalizing variants add it to the norm (reference code). */
const softening = 1e-5;

/** y = x / (‖x‖ + ε). */
function withLength(x: Float64Array, epsilon: number): Float64Array {
  const size = Math.sqrt(dot(x, x)) + epsilon;
  return size === 0 ? new Float64Array(x.length) : x.map((value) => value / size);
}

/** x/‖x‖. The zero vector stays zero. */
export function unit(x: Float64Array): Float64Array {
  return withLength(x, 0);
}

/** x/(1e-5 + ‖x‖). */
export function softUnit(x: Float64Array): Float64Array {
  return withLength(x, softening);
}

/** How a query weighs keys: coefficients for their values. */
export type RowKernel = (q: Float64Array, keys: readonly Float64Array[]) => Float64Array;

/** weight = f(⟨q̂, k̂⟩). */
function ofCosine(f: (cosine: number) => number): RowKernel {
  return (q, keys) => {
    const unitQ = unit(q);
    return Float64Array.from(keys, (key) => f(dot(unitQ, unit(key))));
  };
}

/** weights = softmax over the list of scale·⟨q, k_j⟩. */
export function softmaxKernel(scale: number): RowKernel {
  return (q, keys) => softmaxOf(Float64Array.from(keys, (key) => scale * dot(q, key)));
}

/** e^x / Σ e^x. */
export function softmaxOf(scores: Float64Array): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (const score of scores) largest = Math.max(largest, score);
  let total = 0;
  const powers = scores.map((score) => Math.exp(score - largest));
  for (const power of powers) total += power;
  return powers.map((power) => power / total);
}

/** The collision probability at a cosine: see `graph/ops/surrogate-gradient.ts`. */
export function collisionProbability(cosine: number, bits: number): number {
  return (1 - Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI) ** bits;
}

export function collisionKernel(bits: number): RowKernel {
  return ofCosine((cosine) => collisionProbability(cosine, bits));
}

/** max(⟨q̂, k̂⟩, 0)². */
export const reluSquaredKernel: RowKernel = ofCosine((cosine) => Math.max(cosine, 0) ** 2);

/** max(scale·⟨q, k⟩, 0)². */
export function reluSquaredScoreKernel(scale: number): RowKernel {
  return (q, keys) => Float64Array.from(keys, (key) => Math.max(scale * dot(q, key), 0) ** 2);
}

/** p = w/(floor + Σ w), where w are another kernel's weights. */
export function normalizedKernel(kernel: RowKernel, floor: number): RowKernel {
  return (q, keys) => {
    const own = kernel(q, keys);
    const size = own.reduce((sum, weight) => sum + weight, floor);
    return own.map((weight) => weight / size);
  };
}

/** ⟨q̂, k̂⟩ itself: the kernel that a sum over k̂ᵀv can represent. */
export const cosineKernel: RowKernel = ofCosine((cosine) => cosine);

/** Σ weights_j·rows_j, for rows of the given width. */
export function weightedSum(weights: Float64Array, rows: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  for (const [j, row] of rows.entries()) addScaled(sum, weights[j], row);
  return sum;
}

/** Sizes of one layer's sequence. */
export interface ReferenceDims extends AttentionDims {
  /** n: number of positions. */
  readonly length: number;
  /** Number of keys and values in cross attention; default n. Needs a `keyMask`. */
  readonly keyLength?: number;
}

/** Positions to mix. Arrays are row-major. */
export interface ReferenceInput {
  /** `headWidth` is the given rows' width; see `rowWidth` in `mixers.ts`. */
  readonly dims: ReferenceDims;
  /** Queries [H,n,D], raw: rotated, not normalized. */
  readonly q: Float64Array;
  /** Keys [M,n,D], raw. Query head h reads key-value head ⌊h/(H/M)⌋. */
  readonly k: Float64Array;
  /** Values [M,n,E]. */
  readonly v: Float64Array;
  /** The mixer's learned parameters by name, in their shapes. Default: none. */
  readonly parameters?: Readonly<Record<string, Float64Array>>;
  /** Parent of every position [n]; −1 for the first. Default: the chain −1, 0, 1, … */
  readonly parents?: Int32Array;
  /**
   * 1 for a token, 0 for padding, which nothing reads [n, or `keyLength`]. If given, the text is an encoder's: every
   * position reads all tokens. Default: every position reads its past.
   */
  readonly keyMask?: Float64Array;
  /** Factor on scores, if the mixer has any. Default 1/√D. */
  readonly scale?: number;
  /** Added to the scores: a table [buckets,H] by bucket of distance. */
  readonly bias?: { readonly table: Float64Array; readonly scheme: BucketScheme };
}

/** A view of row `row` of head `head` of an array [heads, length, width]. */
export function rowOf(array: Float64Array, head: number, row: number, length: number, width: number): Float64Array {
  const start = (head * length + row) * width;
  return array.subarray(start, start + width);
}

function requireLength(name: string, array: Float64Array, shape: readonly number[]): void {
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (array.length === count) return;
  throw new LinnetError('SHAPE', `${name} must hold [${shape.join(',')}] = ${count} numbers, got ${array.length}`);
}

/** Depths; checks that every parent comes first. */
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

function checkMask({ keyMask, parents }: ReferenceInput, keyLength: number): void {
  if (keyMask === undefined) return;
  requireLength('keyMask', keyMask, [keyLength]);
  if (keyMask.some((token) => token !== 0 && token !== 1)) {
    throw new LinnetError('INPUT', 'a mask of keys holds 1 for tokens and 0 for padding, nothing else');
  }
  if (parents !== undefined) {
    throw new LinnetError('INPUT', 'a tree of positions is causal: give parents or a mask of keys, not both');
  }
}

/** A filter weight of the convolution, and the position it reads. */
export interface FilterRead {
  /** Index of the weight, 0…K−1. */
  readonly index: number;
  readonly position: number;
}

/** A checked input: the tree of its positions, and views of its rows. */
export class ReferencePositions {
  readonly input: ReferenceInput;
  /** n. */
  readonly length: number;
  /** H. */
  readonly heads: number;
  /** D of the rows given. */
  readonly headWidth: number;
  /** E. */
  readonly valueWidth: number;
  /** Positions of keys and values. */
  readonly keyLength: number;
  /** Each position's place in its sequence. */
  readonly depths: Int32Array;
  /** Factor of the scores. */
  readonly scale: number;
  readonly #convolution: ConvolutionConfig | null;
  readonly #parents: Int32Array;

  /**
   * @param parameters the mixer's parameters, with their shapes
   * @throws LinnetError `SHAPE` for arrays of the wrong length; `INPUT` for a missing parameter, parents out of order, an
   *   unmasked convolution over a branching tree (which has no "next position"), a mask with other values than 0 and 1, or
   *   a mask for a tree
   */
  constructor(
    input: ReferenceInput,
    {
      parameters,
      convolution,
    }: { readonly parameters: readonly MixerParameter[]; readonly convolution: ConvolutionConfig | null },
  ) {
    const { heads, keyValueHeads, length, headWidth, valueWidth = headWidth, keyLength = length } = input.dims;
    if (heads % keyValueHeads !== 0) {
      throw new LinnetError('SHAPE', `${heads} query heads cannot share ${keyValueHeads} key-value heads evenly`);
    }
    requireLength('q', input.q, [heads, length, headWidth]);
    requireLength('k', input.k, [keyValueHeads, keyLength, headWidth]);
    requireLength('v', input.v, [keyValueHeads, keyLength, valueWidth]);
    for (const { name, shape } of parameters) {
      const given = input.parameters?.[name];
      if (given === undefined) {
        throw new LinnetError(
          'INPUT',
          `the mixer has a learned ${name} [${shape.join(',')}], so its values must be given`,
        );
      }
      requireLength(name, given, shape);
    }
    const parents = input.parents ?? Int32Array.from({ length }, (_, position) => position - 1);
    if (parents.length !== length) {
      throw new LinnetError('SHAPE', `${parents.length} parents were given for ${length} positions`);
    }
    if (convolution?.masked === false && parents.some((parent, position) => parent !== position - 1)) {
      throw new LinnetError('INPUT', 'an unmasked convolution reads the next positions, which only a chain has');
    }
    checkMask(input, keyLength);
    this.input = input;
    this.length = length;
    this.heads = heads;
    this.headWidth = headWidth;
    this.valueWidth = valueWidth;
    this.keyLength = keyLength;
    this.depths = depthsOf(parents);
    this.scale = input.scale ?? 1 / Math.sqrt(headWidth);
    this.#convolution = convolution;
    this.#parents = parents;
  }

  /** A parameter of the mixer; it must exist. */
  parameter(name: string): Float64Array {
    return this.input.parameters?.[name] ?? new Float64Array(0);
  }

  /** The positions from `position` back to its root, starting with itself. */
  lineage(position: number): number[] {
    const found: number[] = [];
    for (let at = position; at >= 0; at = this.#parents[at]) found.push(at);
    return found;
  }

  /** The positions that `position` may read: all tokens for encoders, else its ancestors and itself. */
  seen(position: number): number[] {
    const { keyMask } = this.input;
    if (keyMask === undefined) return this.lineage(position);
    return Array.from(keyMask.keys()).filter((other) => keyMask[other] === 1);
  }

  /** ⌊depth/G⌋; in cross attention everything is one group. */
  group(position: number, group: number): number {
    return Math.floor((this.depths[position] ?? 0) / group);
  }

  /** The position that each unmasked filter weight of the convolution reads. */
  filterReads(position: number): FilterRead[] {
    if (this.#convolution === null) return [];
    const { kernel, masked } = this.#convolution;
    const reach = convolutionReach(kernel);
    const { keyMask } = this.input;
    if (keyMask !== undefined) {
      const centred = Array.from({ length: kernel }, (_, index) => ({ index, position: position + index - reach }));
      return centred.filter((read) => keyMask[read.position] === 1);
    }
    // The past: offset τ is the τ-th ancestor.
    const lineage = this.lineage(position).slice(0, reach + 1);
    const reads = lineage.map((ancestor, offset) => ({ index: reach - offset, position: ancestor }));
    if (masked) return reads;
    for (let index = reach + 1; index < kernel && position + index - reach < this.length; index++) {
      reads.push({ index, position: position + index - reach });
    }
    return reads;
  }

  /** The key-value head of a query head. */
  keyValueHead(head: number): number {
    return Math.floor(head / (this.heads / this.input.dims.keyValueHeads));
  }

  /** Row [D] of a query head. */
  query(head: number, position: number): Float64Array {
    return rowOf(this.input.q, head, position, this.length, this.headWidth);
  }

  /** Row [D] of a key-value head. */
  key(keyValueHead: number, position: number): Float64Array {
    return rowOf(this.input.k, keyValueHead, position, this.keyLength, this.headWidth);
  }

  /** Row [E] of a key-value head. */
  value(keyValueHead: number, position: number): Float64Array {
    return rowOf(this.input.v, keyValueHead, position, this.keyLength, this.valueWidth);
  }

  /** out += Σ w[index]·v over the positions under the convolution. */
  addConvolution(head: number, position: number, out: Float64Array): void {
    if (this.#convolution === null) return;
    const filter = this.parameter(filterName);
    for (const read of this.filterReads(position)) {
      const value = this.value(this.keyValueHead(head), read.position);
      addScaled(out, filter[head * this.#convolution.kernel + read.index], value);
    }
  }

  /** Mixes every position of every head with `mix`: [H,n,E]. */
  mapRows(mix: (head: number, position: number) => Float64Array): Float64Array {
    const out = new Float64Array(this.heads * this.length * this.valueWidth);
    for (let head = 0; head < this.heads; head++) {
      for (let position = 0; position < this.length; position++) {
        rowOf(out, head, position, this.length, this.valueWidth).set(mix(head, position));
      }
    }
    return out;
  }
}
