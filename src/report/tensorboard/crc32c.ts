/**
 * CRC-32C, the checksum of Castagnoli (RFC 3720, section 12.1), and its masked form, which guards the records of event files:
 * `node:zlib` has the checksum of gzip only, whose polynomial is another.
 */

/** The polynomial 0x1EDC6F41, its bits in reverse. */
const polynomial = 0x82f63b78;
/** Added to a rotated checksum, so that a checksum of data that holds checksums is not weak. */
const maskDelta = 0xa282ead8;

/** The checksum of every byte alone; made with the first use. */
let table: Uint32Array | undefined;

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let rest = byte;
    for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ polynomial : rest >>> 1;
    return rest;
  });
}

/** The checksum, from 0 to 2³² − 1. */
export function crc32c(bytes: Uint8Array): number {
  table ??= makeTable();
  let rest = 0xffffffff;
  for (const byte of bytes) rest = table[(rest ^ byte) & 0xff] ^ (rest >>> 8);
  return ~rest >>> 0;
}

/** The checksum turned right by 15 bits, plus a constant. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const checksum = crc32c(bytes);
  return (((checksum >>> 15) | (checksum << 17)) + maskDelta) >>> 0;
}
