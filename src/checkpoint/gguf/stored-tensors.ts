/** Reads the bytes of GGUF tensors. */
import { readAhead } from '../read-ahead.ts';
import type { ListedTensor } from './header.ts';

/** Size of blocks read together. */
export const mebibyte = 1 << 20;

/** A tensor's bytes in pieces of `step`, by `readAhead`. @param memory two steps long. Default: new */
export function storedPieces(
  { source, offset, byteLength }: ListedTensor,
  step: number,
  memory?: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return readAhead(byteLength, step, (at, room) => source.read(offset + at, room.length, room), memory);
}

/** All bytes of some tensors, in sequence. */
export async function bytesOfTensors(tensors: readonly ListedTensor[]): Promise<Uint8Array> {
  const all = new Uint8Array(tensors.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let end = 0;
  for (const { source, offset, byteLength } of tensors) {
    await source.read(offset, byteLength, all.subarray(end));
    end += byteLength;
  }
  return all;
}
