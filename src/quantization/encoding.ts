/**
 * Matrices in fewer bits, and what that loses. Rows are outputs: a scale belongs to one output (eight bits) or to a
 * block of 32 inputs of one output (four bits), and the largest magnitude decides it.
 */
import { float16FromFloat32, float32FromFloat16 } from '../checkpoint/float-conversion.ts';
import { LinnetError } from '../errors.ts';
import { blockBytes, blockSize, blocksPerRow, blockZeroPoint } from '../graph/ops/quantized.ts';
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

/** The error of weights against stored ones, gathered number by number. */
class ErrorSum {
  #peak = 0;
  #worst = 0;
  #squares = 0;
  #squaredErrors = 0;

  add(weight: number, stored: number): void {
    const error = Math.abs(weight - stored);
    if (error > this.#worst) this.#worst = error;
    const size = Math.abs(weight);
    if (size > this.#peak) this.#peak = size;
    this.#squares += weight * weight;
    this.#squaredErrors += error * error;
  }

  /** @throws LinnetError `TENSOR` if a weight, given or stored, is not finite */
  resultFor({ name }: DenseMatrix): WeightError {
    // NaN and infinity stay in a sum, whatever comes after them.
    if (!Number.isFinite(this.#squares + this.#squaredErrors)) {
      throw new LinnetError('TENSOR', `"${name}" holds numbers that are not finite, or too large for its new type`);
    }
    if (this.#peak === 0) return { max: 0, rms: 0 };
    return { max: this.#worst / this.#peak, rms: Math.sqrt(this.#squaredErrors / this.#squares) };
  }
}

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
  const scales = new Float32Array(outputs);
  const errors = new ErrorSum();
  for (let output = 0; output < outputs; output++) {
    const source = output * from.output;
    let peak = 0;
    for (let input = 0; input < inputs; input++) peak = Math.max(peak, Math.abs(data[source + input * from.input]));
    const scale = Math.fround(peak / byteRange);
    scales[output] = scale;
    for (let input = 0; input < inputs; input++) {
      const weight = data[source + input * from.input];
      const code = scale === 0 ? 0 : Math.max(-byteRange, Math.min(byteRange, Math.round(weight / scale)));
      codes[output * to.output + input * to.input] = code;
      errors.add(weight, code * scale);
    }
  }
  const shape = layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
  return {
    parts: { codes: tensor('int8', shape, codes), scales: tensor('float32', [outputs], scales) },
    error: errors.resultFor(matrix),
  };
}

/** What the weight of largest magnitude may become: its sign decides which end of the codes it gets. */
const blockEnds = [-8, -7.5, -7] as const;

/**
 * Four bits with a scale per block of 32 inputs: `codes` uint8 [outputs, blocks, 16], two to a byte, and `scales`
 * float32 [outputs, blocks, 1]; weight ≈ (code − 8) · scale. Of a few scales the one of least squared error is taken.
 *
 * @throws LinnetError `TENSOR` for numbers that are not finite
 */
export function encodeBlocks(matrix: DenseMatrix): EncodedMatrix {
  const { data, inputs, outputs } = matrix;
  const from = strides(matrix);
  const blocks = blocksPerRow(inputs);
  const codes = new Uint8Array(outputs * blocks * blockBytes);
  const scales = new Float32Array(outputs * blocks);
  const errors = new ErrorSum();
  const weights = new Float32Array(blockSize);
  for (let output = 0; output < outputs; output++) {
    for (let block = 0; block < blocks; block++) {
      const first = block * blockSize;
      const count = Math.min(blockSize, inputs - first);
      weights.fill(0);
      for (let i = 0; i < count; i++) weights[i] = data[output * from.output + (first + i) * from.input];
      const scale = blockScale(weights);
      const at = output * blocks + block;
      scales[at] = scale;
      for (let i = 0; i < blockSize; i++) {
        const value = blockValue(weights[i], scale);
        codes[at * blockBytes + (i >> 1)] |= (value + blockZeroPoint) << (4 * (i & 1));
        if (i < count) errors.add(weights[i], value * scale);
      }
    }
  }
  return {
    parts: {
      codes: tensor('uint8', [outputs, blocks, blockBytes], codes),
      scales: tensor('float32', [outputs, blocks, 1], scales),
    },
    error: errors.resultFor(matrix),
  };
}

/** The code of a weight less the zero point, −8 to 7. */
function blockValue(weight: number, scale: number): number {
  return scale === 0 ? 0 : Math.max(-8, Math.min(7, Math.round(weight / scale)));
}

function blockScale(weights: Float32Array): number {
  let peak = 0;
  for (const weight of weights) if (Math.abs(weight) > Math.abs(peak)) peak = weight;
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const end of blockEnds) {
    const scale = Math.fround(peak / end);
    let total = 0;
    for (const weight of weights) {
      const error = weight - blockValue(weight, scale) * scale;
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
  const errors = new ErrorSum();
  for (let i = 0; i < data.length; i++) errors.add(data[i], stored[i]);
  const shape = layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
  return { parts: { halves: tensor('float16', shape, halves) }, error: errors.resultFor(matrix) };
}
