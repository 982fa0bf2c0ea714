/** The bytes of tensors of GGUF files. */
import { readAhead } from '../read-ahead.ts';
import type { ListedTensor } from './header.ts';

/** Of blocks that are read together. */
export const mebibyte = 1 << 20;

/** Bytes of a tensor in pieces of `step`, as `readAhead` gives them. @param memory of two steps. Default: new */
export function storedPieces(
  { source, offset, byteLength }: ListedTensor,
  step: number,
  memory?: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return readAhead(byteLength, step, (at, room) => source.read(offset + at, room.length, room), memory);
}

/** All bytes of tensors, one after the other. */
export async function bytesOfTensors(tensors: readonly ListedTensor[]): Promise<Uint8Array> {
  const all = new Uint8Array(tensors.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let end = 0;
  for (const { source, offset, byteLength } of tensors) {
    await source.read(offset, byteLength, all.subarray(end));
    end += byteLength;
  }
  return all;
}
