/** Refuses NaN and infinite weights, from a diverged training or a damaged file: they make every result NaN. */
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { quoteName } from '../files/name-list.ts';
import type { Float32Rows } from './weight-file.ts';

/** Returns the tensor. @throws LinnetError `TENSOR` naming the first value that is NaN or infinite */
export function requireFinite(tensor: Tensor<'float32'>, name: string, source: string): Tensor<'float32'> {
  checkFinite(tensor.data, 0, name, source);
  return tensor;
}

/** Checks pieces as they come. */
export function finiteRows({ shape, pieces }: Float32Rows, name: string, source: string): Float32Rows {
  async function* checked(): AsyncGenerator<Float32Array> {
    let start = 0;
    for await (const piece of pieces) {
      checkFinite(piece, start, name, source);
      start += piece.length;
      yield piece;
    }
  }
  return { shape, pieces: checked() };
}

/** Exponents of one or two numbers in a 32-bit word: all ones if a number is not finite. Adding `step` carries them out. */
const exponents = {
  F32: { mask: 0x7f800000, step: 0x00800000 },
  F16: { mask: 0x7c007c00, step: 0x04000400 },
  BF16: { mask: 0x7f807f80, step: 0x00800080 },
};

/** Whether stored numbers are surely finite, by their bytes; if not, check the converted numbers. */
export function finiteBytes(dtype: string, bytes: Uint8Array): boolean {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') return false;
  const { mask, step } = exponents[dtype];
  const whole = bytes.byteLength & ~3;
  const tail = new Uint8Array(4); // an unpaired last half
  tail.set(bytes.subarray(whole));
  let carried = (new Uint32Array(tail.buffer)[0] & mask) + step;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, whole / 4);
  for (let i = 0; i < words.length; i++) carried |= (words[i] & mask) + step;
  return (carried & ~(mask | step) & (mask + step)) === 0;
}

function checkFinite(data: Float32Array, start: number, name: string, source: string): void {
  // A sum of products with zero is NaN exactly if a number is not finite: one pass without a branch. By index: iterators cost
  // ten times as much.
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] * 0;
  if (sum === 0) return;
  const at = data.findIndex((value) => !Number.isFinite(value));
  throw new LinnetError(
    'TENSOR',
    `${source}: tensor ${quoteName(name)} holds ${data[at]} at index ${start + at}; a model has finite weights`,
  );
}
