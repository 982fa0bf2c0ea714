/** Gathering windows of different lengths into batches of few different shapes, since every shape is compiled once. */
import { type Tensor, tensor } from '../../graph/tensor.ts';
import type { ScoredWindow } from './scored-windows.ts';

/** Windows that run together, padded at the end to one length. */
export interface WindowBatch {
  /** B: rows of the compiled graph; at least the number of windows, rows beyond them are padding. */
  readonly rows: number;
  /** n: predictions per row; a window of m tokens has m − 1. */
  readonly length: number;
  readonly windows: readonly ScoredWindow[];
}

/** Padded lengths are multiples of this; larger steps above 512 keep the number of shapes per octave at four. */
const smallestStep = 64;

/** The number of predictions that `count` are padded to. At most an eighth is padding from 512 on. */
export function paddedLength(count: number): number {
  const octave = 2 ** Math.ceil(Math.log2(count));
  const step = Math.max(smallestStep, octave / 8);
  return Math.ceil(count / step) * step;
}

/**
 * Sorts windows into batches of at most `batchTokens` padded tokens (at least one row each). The windows of one padded
 * length are spread evenly, so that the batches of a length have one shape and almost no empty rows.
 */
export function windowBatches(windows: readonly ScoredWindow[], batchTokens: number): WindowBatch[] {
  const byLength = new Map<number, ScoredWindow[]>();
  for (const window of windows) {
    const length = paddedLength(window.tokens.length - 1);
    const bucket = byLength.get(length);
    if (bucket === undefined) byLength.set(length, [window]);
    else bucket.push(window);
  }
  const batches: WindowBatch[] = [];
  for (const [length, bucket] of [...byLength].sort(([a], [b]) => a - b)) {
    const most = Math.max(1, Math.floor(batchTokens / length));
    const rows = Math.ceil(bucket.length / Math.ceil(bucket.length / most));
    for (let start = 0; start < bucket.length; start += rows) {
      batches.push({ rows, length, windows: bucket.slice(start, start + rows) });
    }
  }
  return batches;
}

/** Tokens read and tokens to be predicted, int32 [B,n]; padding is token 0. */
export function batchTensors({ rows, length, windows }: WindowBatch): { inputs: Tensor; labels: Tensor } {
  const inputs = new Int32Array(rows * length);
  const labels = new Int32Array(rows * length);
  windows.forEach(({ tokens }, row) => {
    inputs.set(tokens.subarray(0, -1), row * length);
    labels.set(tokens.subarray(1), row * length);
  });
  return { inputs: tensor('int32', [rows, length], inputs), labels: tensor('int32', [rows, length], labels) };
}

/** Tokens that the sources of a batch are padded to; 0 where its windows have none. */
export function paddedSourceLength({ windows }: WindowBatch): number {
  const longest = windows.reduce((most, { source }) => Math.max(most, source?.length ?? 0), 0);
  return longest === 0 ? 0 : paddedLength(longest);
}

/** The texts that are read before, int32 [B,m], and which of their places hold a token, float32 [B,m]; padding is token 0. */
export function sourceTensors(batch: WindowBatch): { source: Tensor; sourceMask: Tensor } {
  const { rows, windows } = batch;
  const length = paddedSourceLength(batch);
  const source = new Int32Array(rows * length);
  const mask = new Float32Array(rows * length);
  for (let row = 0; row < rows; row++) {
    // Rows beyond the windows read a text too, or their attention would have nothing to look at.
    const tokens = (windows[row] ?? windows[0]).source ?? new Int32Array(0);
    source.set(tokens, row * length);
    mask.fill(1, row * length, row * length + tokens.length);
  }
  return { source: tensor('int32', [rows, length], source), sourceMask: tensor('float32', [rows, length], mask) };
}
