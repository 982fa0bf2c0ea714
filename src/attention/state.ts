/**
 * What a mixer must remember of the text it has read, per layer and sequence, and how large that is.
 *
 * Linear kind, of constant size whatever the length L of the committed text:
 *
 * - a ring of the rows of the last C positions, keys [Hkv,C,d] and values [Hkv,C,e]. It serves the open group (at most
 *   G−1 positions between steps, G while the group that has just closed is folded) and the convolution, which looks P
 *   positions back, so C = max(G, P), each counted only where its branch exists. Keys are stored as the local kernel
 *   reads them: k̂ = k/‖k‖ for relu², raw for softmax. Rows are kept per key-value head, shared by its query heads.
 * - S = Σ k̂ᵀv [Hkv,d,e] over the closed groups (g+1)·G ≤ L, where there is a global branch.
 *
 * Kind `features`, of constant size too: the ring, raw keys and values, with C = max(G, P); and S = Σ φ(k)ᵀv [Hkv,m,e] over
 * the closed groups, of m features; with the ratio's denominators, Σ φ(k), as one more column: [Hkv,m,e+1].
 *
 * Linformer by blocks: the ring of the open block, raw keys and values, with C = max(G, P), and r rows of keys and values
 * for every closed block, a memory that grows with the text r/G as fast as a key-value cache.
 *
 * Which position sits in which slot of the ring is the session's to know, once for all layers; it is not counted here.
 *
 * Softmax kind, and YOSO by its expectation: keys and values of every committed position, the key-value cache, which grows
 * with the text.
 */
import { LinnetError } from '../errors.ts';
import { featuresOf } from './features/feature-config.ts';
import type { HeadCounts, MixerConfig } from './mixer.ts';
import { convolutionOf, convolutionReach, describeMixer, groupOf, isCausal, rowWidth } from './mixer.ts';

/** Sizes of an attention layer. */
export interface AttentionDims extends HeadCounts {
  /** d: width of a query or key row; in a gated attention unit S. */
  readonly headDim: number;
  /** e: width of a value row; default d. */
  readonly valueDim?: number;
}

/** A state whose size does not depend on the text. */
export interface ConstantState {
  readonly kind: 'constant';
  /** C: positions in the ring. */
  readonly ring: number;
  /** [Hkv,C,d]; of a `gau` mixer with both branches [Hkv,C,2d], local and global keys side by side. */
  readonly keys: readonly [number, number, number];
  /** [Hkv,C,e] */
  readonly values: readonly [number, number, number];
  /** S [Hkv,d,e], or of features [Hkv,m,e] or [Hkv,m,e+1]; null without a global branch. */
  readonly sums: readonly [number, number, number] | null;
}

/** A state of one key row and one value row per position and key-value head. */
export interface GrowingState {
  readonly kind: 'growing';
  /** [Hkv,d] per position. */
  readonly keyRow: readonly [number, number];
  /** [Hkv,e] per position. */
  readonly valueRow: readonly [number, number];
}

/** A ring of constant size, and a memory of rows that closed blocks are projected to. */
export interface BlockState {
  readonly kind: 'blocks';
  /** C: positions in the ring. */
  readonly ring: number;
  /** [Hkv,C,d] */
  readonly keys: readonly [number, number, number];
  /** [Hkv,C,e] */
  readonly values: readonly [number, number, number];
  /** G: positions per block. */
  readonly block: number;
  /** Rows per closed block. */
  readonly projected: {
    /** [Hkv,r,d] */
    readonly keys: readonly [number, number, number];
    /** [Hkv,r,e] */
    readonly values: readonly [number, number, number];
  };
}

export type MixerStateShape = ConstantState | GrowingState | BlockState;

function requireCount(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new LinnetError('CONFIG', `${name} must be a whole number, at least ${least}; got ${value}`);
}

function checkDims({ heads, keyValueHeads, headDim, valueDim = headDim }: AttentionDims): void {
  requireCount('the number of heads', heads, 1);
  requireCount('the number of key-value heads', keyValueHeads, 1);
  requireCount('the head width', headDim, 1);
  requireCount('the value width', valueDim, 1);
  if (heads % keyValueHeads !== 0) {
    throw new LinnetError('CONFIG', `${heads} query heads cannot share ${keyValueHeads} key-value heads evenly`);
  }
}

/**
 * The state of one layer for one sequence.
 * @throws LinnetError `CONFIG` for impossible sizes, or for a mixer that reads the future and so has no state.
 */
export function mixerStateShape(config: MixerConfig, dims: AttentionDims): MixerStateShape {
  checkDims(dims);
  if (!isCausal(config)) {
    throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads later positions and cannot decode`);
  }
  const { keyValueHeads, headDim, valueDim = headDim } = dims;
  const group = groupOf(config);
  const keyWidth = rowWidth(config, headDim);
  if (group === Number.POSITIVE_INFINITY) {
    return { kind: 'growing', keyRow: [keyValueHeads, keyWidth], valueRow: [keyValueHeads, valueDim] };
  }
  const convolution = convolutionOf(config);
  const reach = convolution === null ? 0 : convolutionReach(convolution.kernel);
  // At least one slot, so that no tensor is empty: only a lone convolution of one tap would need none.
  const ring = Math.max(readsGroups(config) ? group : 1, reach);
  const rows = {
    ring,
    keys: [keyValueHeads, ring, keyWidth],
    values: [keyValueHeads, ring, valueDim],
  } as const;
  if (config.kind === 'block-linformer') {
    const projected = {
      keys: [keyValueHeads, config.rows, keyWidth],
      values: [keyValueHeads, config.rows, valueDim],
    } as const;
    return { kind: 'blocks', ...rows, block: config.block, projected };
  }
  const sums = summedShape(config, headDim, valueDim);
  return {
    kind: 'constant',
    ...rows,
    sums: sums === null ? null : [keyValueHeads, ...sums],
  };
}

function readsGroups(config: MixerConfig): boolean {
  if (config.kind === 'gau') return config.local !== null || config.global;
  return config.kind !== 'linear' || config.local !== null || config.global !== null;
}

/** Rows and columns of S per key-value head; null for a mixer that has no sums. */
function summedShape(config: MixerConfig, headDim: number, valueDim: number): [number, number] | null {
  if (config.kind === 'linear' && config.global !== null) return [headDim, valueDim];
  if (config.kind === 'gau' && config.global) return [headDim, valueDim];
  if (config.kind !== 'features') return null;
  return [featuresOf(config.map, headDim), valueDim + (config.output === 'ratio' ? 1 : 0)];
}

/**
 * Bytes of the state of one layer for one sequence.
 * @param bytesPerNumber 4 for float32 (default), 2 for float16
 * @param context committed positions; matters, and must be given, only where the state grows with them
 * @throws LinnetError `CONFIG` as `mixerStateShape`, and for a growing state without a context.
 */
export function stateBytes(config: MixerConfig, dims: AttentionDims, bytesPerNumber = 4, context?: number): number {
  const shape = mixerStateShape(config, dims);
  if (shape.kind === 'growing') {
    if (context === undefined) throw needsContext(config);
    requireCount('the context length', context, 0);
    const [heads, keyWidth] = shape.keyRow;
    return heads * (keyWidth + shape.valueRow[1]) * context * bytesPerNumber;
  }
  const count = ([a, b, c]: readonly [number, number, number]): number => a * b * c;
  const ring = count(shape.keys) + count(shape.values);
  if (shape.kind === 'constant') return (ring + (shape.sums === null ? 0 : count(shape.sums))) * bytesPerNumber;
  if (context === undefined) throw needsContext(config);
  requireCount('the context length', context, 0);
  return (
    (ring + (count(shape.projected.keys) + count(shape.projected.values)) * Math.floor(context / shape.block)) *
    bytesPerNumber
  );
}

function needsContext(config: MixerConfig): LinnetError {
  return new LinnetError(
    'CONFIG',
    `the state of ${describeMixer(config)} grows with the text: give the context length too`,
  );
}

/**
 * Bytes of the key-value cache of one softmax layer for one sequence: Hkv·(d + e) numbers per position.
 * @param context committed positions
 * @param bytesPerNumber 4 for float32 (default), 2 for float16
 * @throws LinnetError `CONFIG` for impossible sizes
 */
export function keyValueCacheBytes(dims: AttentionDims, context: number, bytesPerNumber = 4): number {
  checkDims(dims);
  requireCount('the context length', context, 0);
  const { keyValueHeads, headDim, valueDim = headDim } = dims;
  return keyValueHeads * (headDim + valueDim) * context * bytesPerNumber;
}
