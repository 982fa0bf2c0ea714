/**
 * Converts between float32 and the two 16-bit formats of checkpoints: IEEE 754 half precision (F16: 5 exponent bits, 10
 * fraction bits) and bfloat16 (BF16: the upper half of a float32). Narrowing rounds to nearest, ties to even, like PyTorch
 * and the hardware. Works on bit patterns throughout, because a JavaScript number may change a NaN's payload.
 */

const FLOAT32_INFINITY = 0x7f800000;
/** 65520, halfway between the largest half (65504) and the next step: results from here on are infinite. */
const HALF_OVERFLOW = 0x477ff000;
/** 2⁻¹⁴, the smallest normal half. */
const HALF_SMALLEST_NORMAL = 0x38800000;
/** Difference of the exponent biases (127 − 15), shifted into place. */
const HALF_REBIAS = 112 << 23;

/** The half-precision bits nearest to the float32 with bit pattern `word`. NaN stays NaN (quiet, upper payload kept). */
function halfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > FLOAT32_INFINITY) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= HALF_OVERFLOW) return sign | 0x7c00;
  if (magnitude >= HALF_SMALLEST_NORMAL) {
    const rebiased = magnitude - HALF_REBIAS;
    // A carry out of the fraction moves into the exponent, giving the next representable value.
    return sign | ((rebiased + 0x0fff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign; // below 2⁻²⁵, half of the smallest subnormal
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const quotient = significand >>> shift;
  const remainder = significand & ((1 << shift) - 1);
  const halfway = 1 << (shift - 1);
  const roundsUp = remainder > halfway || (remainder === halfway && (quotient & 1) === 1);
  return sign | (quotient + (roundsUp ? 1 : 0));
}

/** The bit pattern of the float32 equal to a half-precision value. Exact for every input. */
function wordFromHalf(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const magnitude = bits & 0x7fff;
  const fraction = bits & 0x3ff;
  if (magnitude >= 0x7c00) return (sign | FLOAT32_INFINITY | (fraction << 13)) >>> 0;
  if (magnitude >= 0x400) return (sign | ((magnitude << 13) + HALF_REBIAS)) >>> 0;
  if (fraction === 0) return sign >>> 0;
  const shift = Math.clz32(fraction) - 21; // brings the leading one to bit 10
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0;
}

/** The bfloat16 bits nearest to the float32 with bit pattern `word`. NaN stays NaN (quiet, upper payload kept). */
function bfloat16Bits(word: number): number {
  if ((word & 0x7fffffff) > FLOAT32_INFINITY) return (word >>> 16) | 0x40;
  return ((word >>> 0) + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/**
 * Rounds float32 values to half precision; the result holds bit patterns, like a float16 tensor.
 * @param result of the same length; default: a fresh one
 */
export function float16FromFloat32(
  values: Float32Array,
  result: Uint16Array = new Uint16Array(values.length),
): Uint16Array {
  const words = wordsOf(values);
  for (let i = 0; i < words.length; i++) result[i] = halfBits(words[i]);
  return result;
}

/** Rounds float32 values to bfloat16; the result holds bit patterns. */
export function bfloat16FromFloat32(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  const result = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) result[i] = bfloat16Bits(words[i]);
  return result;
}

let halves: Float32Array | undefined;

/** All half-precision values by bit pattern: a lookup takes a third of the time. */
export function halfValues(): Float32Array {
  if (halves !== undefined) return halves;
  halves = new Float32Array(1 << 16);
  wordsOf(halves).forEach((_, bits, words) => (words[bits] = wordFromHalf(bits)));
  return halves;
}

/** Widens half-precision bit patterns; exact. @param result of the same length; default: a fresh one */
export function float32FromFloat16(
  bits: Uint16Array,
  result: Float32Array = new Float32Array(bits.length),
): Float32Array {
  const words = wordsOf(result);
  const table = wordsOf(halfValues());
  for (let i = 0; i < bits.length; i++) words[i] = table[bits[i]];
  return result;
}

/** Widens bfloat16 bit patterns, like `float32FromFloat16`; exact. */
export function float32FromBfloat16(
  bits: Uint16Array,
  result: Float32Array = new Float32Array(bits.length),
): Float32Array {
  const words = wordsOf(result);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return result;
}

function wordsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
