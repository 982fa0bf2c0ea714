/** Answers of servers that are not trusted: no more of one is kept than was asked for. */
import { LinnetError } from '../errors.ts';

/** @throws LinnetError `FORMAT` for a body of more than `most` bytes, as soon as it is */
export async function boundedBody({ body }: Response, most: number, address: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const stream: AsyncIterable<Uint8Array> | undefined = body ?? undefined;
  for await (const piece of stream ?? []) {
    bytes += piece.length;
    if (bytes > most) throw new LinnetError('FORMAT', `${address} has more than ${most} bytes; it is not read`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, bytes);
}
