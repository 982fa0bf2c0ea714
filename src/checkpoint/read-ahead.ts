/** Reading a stretch of a file in pieces, the next while one is used. */

/**
 * Pieces of `step` bytes, the last of fewer; each is valid until the next is asked for.
 * @param read fills `room` from an offset of the stretch
 */
export async function* readAhead(
  byteLength: number,
  step: number,
  read: (offset: number, room: Uint8Array<ArrayBuffer>) => Promise<unknown>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const size = Math.min(step, byteLength);
  const rooms = [new Uint8Array(size), new Uint8Array(byteLength > step ? size : 0)];
  const reading = (offset: number): Promise<Uint8Array<ArrayBuffer>> => {
    const room = rooms[(offset / step) % 2].subarray(0, Math.min(step, byteLength - offset));
    const filled = read(offset, room).then(() => room);
    filled.catch(() => undefined); // told when the piece is asked for, if it ever is
    return filled;
  };
  let next = reading(0);
  for (let offset = 0; offset < byteLength; offset += step) {
    const piece = await next;
    if (offset + step < byteLength) next = reading(offset + step);
    yield piece;
  }
}
