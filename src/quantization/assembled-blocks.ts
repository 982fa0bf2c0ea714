/** The block encoder in WebAssembly. For Node. */
import { readFileSync } from 'node:fs';
import type { EncodeBlocks } from './block-codes.ts';

/** Weights encoded together: with their results they stay in a cache. */
const weightsAtOnce = 1 << 15;
/** Bytes of error sums, at the start of the memory; the weights follow. */
const sumsBytes = 32;
const pageBytes = 1 << 16;

/** The module's exports. */
interface Assembled {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  encode(weights: number, blocks: number, bytes: number, codes: number, scales: number, sums: number): void;
}

/** Node's types lack it. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Assembled };
};

/**
 * `encodeBlocks` from block-codes.wat: the same bits.
 * @param bytes the assembled module
 */
export function assembledBlocks(bytes: Uint8Array): EncodeBlocks {
  const { exports: assembled } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  const { memory } = assembled;
  memory.grow(Math.ceil((sumsBytes + 5 * weightsAtOnce) / pageBytes));
  const sums = new Float64Array(memory.buffer, 0, 4);
  const weightsAt = sumsBytes;
  const codesAt = weightsAt + 4 * weightsAtOnce;
  const scalesAt = codesAt + weightsAtOnce / 2;
  const room = new Float32Array(memory.buffer, weightsAt, weightsAtOnce);
  return (weights, size, codes, scales, errors) => {
    sums.set([errors.peak, errors.worst, errors.squares, errors.squaredErrors]);
    for (let start = 0; start < weights.length; start += weightsAtOnce) {
      const some = weights.subarray(start, start + weightsAtOnce);
      const blocks = some.length / size;
      room.set(some);
      assembled.encode(weightsAt, blocks, 4 * size, codesAt, scalesAt, 0);
      codes.set(new Uint8Array(memory.buffer, codesAt, some.length / 2), start / 2);
      scales.set(new Float32Array(memory.buffer, scalesAt, blocks), start / size);
    }
    [errors.peak, errors.worst, errors.squares, errors.squaredErrors] = sums;
  };
}

/** The built package's module; undefined in the source, where it is not assembled. */
export function builtBlocks(): EncodeBlocks | undefined {
  try {
    return assembledBlocks(readFileSync(new URL('./block-codes.wasm', import.meta.url)));
  } catch {
    return undefined;
  }
}
