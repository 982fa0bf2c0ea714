/** Reads a stretch of a file in pieces, the next while one is used. */

/**
 * Pieces of `step` bytes, the last shorter; each is valid until the next is requested.
 * @param read fills `room` from an offset of the stretch
 * @param memory two steps long
 */
export async function* readAhead(
  byteLength: number,
  step: number,
  read: (offset: number, room: Uint8Array<ArrayBuffer>) => Promise<unknown>,
  memory = new Uint8Array(Math.min(2 * step, byteLength)),
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reading = (offset: number): Promise<Uint8Array<ArrayBuffer>> => {
    const start = offset % (2 * step);
    const room = memory.subarray(start, start + Math.min(step, byteLength - offset));
    const filled = read(offset, room).then(() => room);
    filled.catch(() => undefined); // reported when the piece is requested, if ever
    return filled;
  };
  let next = reading(0);
  for (let offset = 0; offset < byteLength; offset += step) {
    const piece = await next;
    if (offset + step < byteLength) next = reading(offset + step);
    yield piece;
  }
}
