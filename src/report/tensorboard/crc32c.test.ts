import { describe, expect, it } from 'vitest';
import { crc32c, maskedCrc32c } from './crc32c.ts';

describe('crc32c', () => {
  // RFC 3720, section B.4, which lists the bytes of the checksum from the lowest.
  it.each([
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 to 31', Uint8Array.from({ length: 32 }, (_, at) => at), 0x46dd794e],
    ['31 to 0', Uint8Array.from({ length: 32 }, (_, at) => 31 - at), 0x113fdb5c],
  ])('of %s', (_, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });

  it('of an iSCSI command of RFC 3720, of the usual check text, and of nothing', () => {
    const command = Buffer.from(
      '01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000',
      'hex',
    );
    expect(crc32c(command)).toBe(0xd9963a56);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array())).toBe(0);
  });
});

it('the masked checksum is turned and moved, and stays in 32 bits', () => {
  const checksum = 0xe3069283n;
  const turned = ((checksum >> 15n) | (checksum << 17n)) & 0xffffffffn;
  expect(maskedCrc32c(Buffer.from('123456789'))).toBe(Number((turned + 0xa282ead8n) & 0xffffffffn));
  expect(maskedCrc32c(new Uint8Array())).toBe(0xa282ead8);
});
