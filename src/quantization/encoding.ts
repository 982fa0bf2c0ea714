/**
 * Matrices in fewer bits, and what that loses. Rows are outputs: a scale belongs to one output (eight bits) or to a
 * block of inputs of one output (four bits), and the largest magnitude decides it.
 */
import { float16FromFloat32, float32FromFloat16 } from '../checkpoint/float-conversion.ts';
import { LinnetError } from '../errors.ts';
import { type BlockSize, blocksPerRow, blockZeroPoint } from '../graph/ops/quantized.ts';
import { type Tensor, tensor } from '../graph/tensor.ts';

/** A float32 matrix in either layout. */
export interface DenseMatrix {
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
  /** Whether the data is [outputs, inputs] or [inputs, outputs]. */
  readonly layout: 'outputs-first' | 'inputs-first';
  readonly data: Float32Array;
}

/** How far stored weights are from the given ones. */
export interface WeightError {
  /** Largest error over the largest weight. */
  readonly max: number;
  /** Root of the mean squared error over that of the mean squared weight. */
  readonly rms: number;
}

/** The parts that a stored matrix consists of, by name. */
export interface EncodedMatrix {
  readonly parts: Readonly<Record<string, Tensor>>;
  readonly error: WeightError;
}

/**
 * What the error of a matrix is made of.
 * @throws LinnetError `TENSOR` if a weight, given or stored, is not finite
 */
function weightError(
  { name }: DenseMatrix,
  sums: { readonly peak: number; readonly worst: number; readonly squares: number; readonly squaredErrors: number },
): WeightError {
  const { peak, worst, squares, squaredErrors } = sums;
  // NaN and infinity stay in a sum, whatever comes after them.
  if (!Number.isFinite(squares + squaredErrors)) {
    throw new LinnetError('TENSOR', `"${name}" holds numbers that are not finite, or too large for its new type`);
  }
  if (peak === 0) return { max: 0, rms: 0 };
  return { max: worst / peak, rms: Math.sqrt(squaredErrors / squares) };
}

/** x + this − this is x rounded to the nearest whole number, ties to even, for |x| < 2⁵¹; far quicker than Math.round. */
const roundingShift = 1.5 * 2 ** 52;

/** Outputs and inputs that are visited together, so that reading and writing across rows stays in the cache. */
const tile = 64;

/** Steps between neighbouring inputs of an output, and between neighbouring outputs. */
function strides({ layout, inputs, outputs }: DenseMatrix): { input: number; output: number } {
  return layout === 'outputs-first' ? { input: 1, output: inputs } : { input: outputs, output: 1 };
}

/** Codes that count from −127: −128 would have no opposite. */
const byteRange = 127;

/**
 * Eight bits with a scale per output: `codes` int8 and `scales` float32 [outputs], weight ≈ code · scale.
 *
 * @param layout of the codes: [inputs, outputs] for products, [outputs, inputs] for looking up rows
 * @throws LinnetError `TENSOR` for numbers that are not finite
 */
export function encodeBytes(matrix: DenseMatrix, layout: DenseMatrix['layout']): EncodedMatrix {
  const { data, inputs, outputs } = matrix;
  const from = strides(matrix);
  const to = strides({ ...matrix, layout });
  const codes = new Int8Array(data.length);
  const peaks = new Float32Array(outputs);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const size = Math.abs(data[output * from.output + input * from.input]);
      if (size > peaks[output]) peaks[output] = size;
    }
  }
  const scales = peaks.map((peak) => peak / byteRange);
  let worst = 0;
  let squares = 0;
  let squaredErrors = 0;
  for (let firstOutput = 0; firstOutput < outputs; firstOutput += tile) {
    const lastOutput = Math.min(outputs, firstOutput + tile);
    for (let firstInput = 0; firstInput < inputs; firstInput += tile) {
      const lastInput = Math.min(inputs, firstInput + tile);
      for (let output = firstOutput; output < lastOutput; output++) {
        const scale = scales[output];
        const perCode = scale === 0 ? 0 : 1 / scale;
        for (let input = firstInput; input < lastInput; input++) {
          const weight = data[output * from.output + input * from.input];
          // The largest weight may come out a hair above its code.
          const rounded = weight * perCode + roundingShift - roundingShift;
          const code = rounded > byteRange ? byteRange : rounded < -byteRange ? -byteRange : rounded;
          codes[output * to.output + input * to.input] = code;
          const error = weight - code * scale;
          squares += weight * weight;
          squaredErrors += error * error;
          if (error > worst) worst = error;
          else if (-error > worst) worst = -error;
        }
      }
    }
  }
  const peak = peaks.reduce((most, value) => Math.max(most, value), 0);
  const shape = layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
  return {
    parts: { codes: tensor('int8', shape, codes), scales: tensor('float32', [outputs], scales) },
    error: weightError(matrix, { peak, worst, squares, squaredErrors }),
  };
}

/** What the weight of largest magnitude may become: its sign decides which end of the codes it gets. */
const blockEnds = [-8, -7.5, -7] as const;

/**
 * Four bits with a scale per block of inputs: `codes` uint8 [outputs, blocks, size/2], two to a byte, and `scales`
 * float32 [outputs, blocks]; weight ≈ (code − 8) · scale. Of a few scales the one of least squared error is taken.
 *
 * @throws LinnetError `TENSOR` for numbers that are not finite
 */
export function encodeBlocks(matrix: DenseMatrix, size: BlockSize): EncodedMatrix {
  const { data, inputs, outputs } = matrix;
  const from = strides(matrix);
  const blocks = blocksPerRow(inputs, size);
  const blockBytes = size / 2;
  const codes = new Uint8Array(outputs * blocks * blockBytes);
  const scales = new Float32Array(outputs * blocks);
  const weights = new Float32Array(size);
  const values = new Int8Array(size);
  let peak = 0;
  let worst = 0;
  let squares = 0;
  let squaredErrors = 0;
  for (let output = 0; output < outputs; output++) {
    for (let block = 0; block < blocks; block++) {
      const first = output * from.output + block * size * from.input;
      const count = Math.min(size, inputs - block * size);
      weights.fill(0, count);
      for (let i = 0; i < count; i++) weights[i] = data[first + i * from.input];
      const scale = blockScale(weights);
      const perCode = scale === 0 ? 0 : 1 / scale;
      const at = output * blocks + block;
      scales[at] = scale;
      for (let i = 0; i < size; i++) {
        const weight = weights[i];
        const value = blockValue(weight * perCode);
        values[i] = value;
        const error = Math.abs(weight - value * scale);
        const magnitude = Math.abs(weight);
        squares += weight * weight;
        squaredErrors += error * error;
        if (error > worst) worst = error;
        if (magnitude > peak) peak = magnitude;
      }
      for (let i = 0; i < size; i += 2) {
        codes[at * blockBytes + i / 2] = (values[i] + blockZeroPoint) | ((values[i + 1] + blockZeroPoint) << 4);
      }
    }
  }
  return {
    parts: {
      codes: tensor('uint8', [outputs, blocks, blockBytes], codes),
      scales: tensor('float32', [outputs, blocks], scales),
    },
    error: weightError(matrix, { peak, worst, squares, squaredErrors }),
  };
}

/** The code less the zero point, −8 to 7, of a weight over the scale. */
function blockValue(steps: number): number {
  const rounded = steps + roundingShift - roundingShift;
  return rounded > 7 ? 7 : rounded < -8 ? -8 : rounded;
}

/** The scale of least squared error; 0 for a block of zeros, or of numbers that are not finite. */
function blockScale(weights: Float32Array): number {
  let peak = 0;
  for (let i = 0; i < weights.length; i++) if (Math.abs(weights[i]) > Math.abs(peak)) peak = weights[i];
  if (peak === 0) return 0;
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const end of blockEnds) {
    const scale = Math.fround(peak / end);
    const perCode = 1 / scale;
    let total = 0;
    for (let i = 0; i < weights.length; i++) {
      const error = weights[i] - blockValue(weights[i] * perCode) * scale;
      total += error * error;
    }
    if (total < least) {
      least = total;
      best = scale;
    }
  }
  return best;
}

/**
 * Half precision: `halves` float16, in the layout of the matrix.
 * @throws LinnetError `TENSOR` for numbers that are not finite, or too large for half precision
 */
export function encodeHalves(matrix: DenseMatrix): EncodedMatrix {
  const { data, inputs, outputs, layout } = matrix;
  const halves = float16FromFloat32(data);
  const stored = float32FromFloat16(halves);
  let peak = 0;
  let worst = 0;
  let squares = 0;
  let squaredErrors = 0;
  for (let i = 0; i < data.length; i++) {
    const error = Math.abs(data[i] - stored[i]);
    const size = Math.abs(data[i]);
    squares += size * size;
    squaredErrors += error * error;
    if (error > worst) worst = error;
    if (size > peak) peak = size;
  }
  const shape = layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
  return {
    parts: { halves: tensor('float16', shape, halves) },
    error: weightError(matrix, { peak, worst, squares, squaredErrors }),
  };
}
