/** Bodies of requests and answers that are not trusted: no more of one is kept than may come, however small its pieces are. */
import { LinnetError } from '../errors.ts';

/** Bytes that come in pieces, in one buffer: a piece of one byte would else take a hundred. */
export class GrowingBytes {
  #buffer = Buffer.alloc(0);
  #size = 0;

  /** The bytes so far, in place. */
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

/** @throws LinnetError `FORMAT` for a body of more than `most` bytes, as soon as it is */
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
