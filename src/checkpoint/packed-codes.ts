/** Packs codes and zero points for products. */
import type { CodedParts, CodeForm } from './weight-file.ts';

/** Rows of codes unchanged, or two per byte, the earlier in the lower half. */
export function packedRows(codes: Uint8Array, rows: number, bits: 4 | 8): Uint8Array {
  if (bits === 8) return codes;
  const width = codes.length / rows;
  const rowBytes = Math.ceil(width / 2);
  const packed = new Uint8Array(rows * rowBytes);
  for (let r = 0, at = 0, to = 0; r < rows; r++, at += width) {
    for (let c = 0; c < width; c += 2) packed[to++] = codes[at + c] | (c + 1 < width ? codes[at + c + 1] << 4 : 0);
  }
  return packed;
}

/**
 * Whole zero points near minimum / scale, and every block's rest. A scale of 0 leaves only the minimum. @param room for them
 */
export function wholeZeros(
  { scales, minima }: { readonly scales: Float32Array; readonly minima: Float32Array },
  outputs: number,
  { bits, size }: CodeForm,
  room: Record<'zeros', Uint8Array> & Record<'rest', Float32Array> = {
    zeros: new Uint8Array(scales.length),
    rest: new Float32Array(scales.length),
  },
): Required<Pick<CodedParts, 'zeros' | 'rest'>> {
  const most = 2 ** bits - 1;
  const { zeros, rest } = room;
  for (let i = 0; i < scales.length; i++) {
    const zero = scales[i] === 0 ? 0 : Math.min(most, Math.max(0, Math.round(minima[i] / scales[i])));
    zeros[i] = zero;
    rest[i] = size * Math.fround(zero * scales[i] - minima[i]);
  }
  return { zeros: packedRows(zeros, outputs, bits), rest };
}
