/** Weights that are no numbers: from a training that diverged, or a damaged file. Every result with them is one. */
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { quoteName } from '../files/name-list.ts';
import type { Float32Rows } from './safetensors/reader.ts';

/**
 * Returns the tensor.
 * @param name of the tensor, for the error
 * @param source name of its file or folder, for the error
 * @throws LinnetError `TENSOR` naming the first value that is NaN or infinite
 */
export function requireFinite(tensor: Tensor<'float32'>, name: string, source: string): Tensor<'float32'> {
  checkFinite(tensor.data, 0, name, source);
  return tensor;
}

/** The same for pieces, checked as they come. */
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

function checkFinite(data: Float32Array, start: number, name: string, source: string): void {
  // A sum of products with zero is NaN exactly if one of them is not finite: one pass without a branch.
  let sum = 0;
  for (const value of data) sum += value * 0;
  if (sum === 0) return;
  const at = data.findIndex((value) => !Number.isFinite(value));
  throw new LinnetError(
    'TENSOR',
    `${source}: tensor ${quoteName(name)} holds ${data[at]} at index ${start + at}; a model has finite weights`,
  );
}
