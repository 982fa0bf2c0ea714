/**
 * Four-bit codes in blocks, two per byte: takes the one of three scales with the least squared error. Sums have two lanes, as
 * in block-codes.wat: the same bits as WebAssembly, in less time.
 */
import { type BlockSize, blockZeroPoint } from '../graph/ops/quantized.ts';

/** Sums for a matrix's error: largest magnitudes and sums of squares of its weights and of their errors. */
export interface ErrorSums {
  peak: number;
  worst: number;
  squares: number;
  squaredErrors: number;
}

/** Encodes whole blocks from the start of `weights`, and adds to the errors. */
export type EncodeBlocks = (
  weights: Float32Array,
  size: BlockSize,
  codes: Uint8Array,
  scales: Float32Array,
  errors: ErrorSums,
) => void;

/** x + this − this is x rounded to the nearest whole number, ties to even, for |x| < 2⁵¹; far quicker than Math.round. */
export const roundingShift = 1.5 * 2 ** 52;

export const encodeBlocks: EncodeBlocks = (weights, size, codes, scales, errors) => {
  let { peak, worst, squares, squaredErrors } = errors;
  for (let start = 0, block = 0, byte = 0; start < weights.length; start += size, block++) {
    const end = start + size;
    const blockPeak = peakOf(weights, start, end);
    if (Math.abs(blockPeak) > peak) peak = Math.abs(blockPeak);
    const scale = blockScale(weights, start, end, blockPeak);
    const perCode = scale === 0 ? 0 : 1 / scale;
    scales[block] = scale;
    // For the first and second weights of pairs.
    let firstSquares = 0;
    let secondSquares = 0;
    let firstErrors = 0;
    let secondErrors = 0;
    for (let i = start; i < end; i += 2) {
      const first = weights[i];
      const second = weights[i + 1];
      const low = blockValue(first * perCode);
      const high = blockValue(second * perCode);
      codes[byte++] = (low + blockZeroPoint) | ((high + blockZeroPoint) << 4);
      const lowError = Math.abs(first - low * scale);
      const highError = Math.abs(second - high * scale);
      firstSquares += first * first;
      secondSquares += second * second;
      firstErrors += lowError * lowError;
      secondErrors += highError * highError;
      if (lowError > worst) worst = lowError;
      if (highError > worst) worst = highError;
    }
    squares += firstSquares + secondSquares;
    squaredErrors += firstErrors + secondErrors;
  }
  errors.peak = peak;
  errors.worst = worst;
  errors.squares = squares;
  errors.squaredErrors = squaredErrors;
};

/** A code minus the zero point, −8 to 7, from a weight over the scale. */
function blockValue(steps: number): number {
  const rounded = steps + roundingShift - roundingShift;
  return rounded > 7 ? 7 : rounded;
}

/** The weight of largest magnitude; of two, the positive one. */
function peakOf(weights: Float32Array, start: number, end: number): number {
  let high = 0;
  let low = 0;
  for (let i = start; i < end; i++) {
    const weight = weights[i];
    if (weight > high) high = weight;
    if (weight < low) low = weight;
  }
  return high >= -low ? high : low;
}

/** Blocks of smaller weights become zeros: their scales would have few digits, and codes fall below −8. */
const leastPeak = 2 ** -123;

/**
 * The scale with the least squared error; 0 for a block of zeros. The weight of largest magnitude may get the code −8, −7.5
 * or −7: its sign decides which end of the codes it takes.
 */
function blockScale(weights: Float32Array, start: number, end: number, peak: number): number {
  if (Math.abs(peak) < leastPeak) return 0;
  // Side by side, so that sums do not wait for each other.
  const a = Math.fround(peak / -8);
  const b = Math.fround(peak / -7.5);
  const c = Math.fround(peak / -7);
  const perA = 1 / a;
  const perB = 1 / b;
  const perC = 1 / c;
  let firstA = 0;
  let firstB = 0;
  let firstC = 0;
  let secondA = 0;
  let secondB = 0;
  let secondC = 0;
  for (let i = start; i < end; i += 2) {
    const first = weights[i];
    const errorA = first - blockValue(first * perA) * a;
    const errorB = first - blockValue(first * perB) * b;
    const errorC = first - blockValue(first * perC) * c;
    firstA += errorA * errorA;
    firstB += errorB * errorB;
    firstC += errorC * errorC;
    const second = weights[i + 1];
    const otherA = second - blockValue(second * perA) * a;
    const otherB = second - blockValue(second * perB) * b;
    const otherC = second - blockValue(second * perC) * c;
    secondA += otherA * otherA;
    secondB += otherB * otherB;
    secondC += otherC * otherC;
  }
  const [sumA, sumB, sumC] = [firstA + secondA, firstB + secondB, firstC + secondC];
  if (sumA <= sumB && sumA <= sumC) return a;
  return sumB <= sumC ? b : c;
}
