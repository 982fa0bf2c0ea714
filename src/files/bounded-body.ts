/** Bodies of untrusted requests and responses, read up to a limit, however small their pieces. */
import { LinnetError } from '../errors.ts';

/** Collects pieces of bytes in one buffer: kept apart, a piece of one byte would take a hundred. */
export class GrowingBytes {
  #buffer = Buffer.alloc(0);
  #size = 0;

  /** The bytes so far, not copied. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#size);
  }

  add(piece: Uint8Array): void {
    const size = this.#size + piece.length;
    if (size > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(2 * size);
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#size);
    this.#size = size;
  }
}

/** @throws LinnetError `FORMAT` as soon as the body exceeds `most` bytes */
export async function boundedBody({ body }: Response, most: number, address: string): Promise<Buffer> {
  const read = new GrowingBytes();
  const stream: AsyncIterable<Uint8Array> | undefined = body ?? undefined;
  for await (const piece of stream ?? []) {
    if (read.bytes.length + piece.length > most) {
      throw new LinnetError('FORMAT', `${address} has more than ${most} bytes; it is not read`);
    }
    read.add(piece);
  }
  return read.bytes;
}
