/**
 * Encodes matrices in fewer bits, and measures their errors. Rows are outputs: a scale belongs to one output (eight bits) or
 * to a block of one output's inputs (four bits), set by the largest magnitude. So a matrix is encoded row by row, and its
 * source need not be in memory at once.
 */
import { float16FromFloat32, float32FromFloat16 } from '../checkpoint/safetensors/float-conversion.ts';
import { LinnetError } from '../errors.ts';
import { type BlockSize, blocksPerRow } from '../graph/ops/quantized.ts';
import { type Tensor, tensor } from '../graph/tensor.ts';
import { type EncodeBlocks, encodeBlocks, type ErrorSums, roundingShift } from './block-codes.ts';

/** A model's matrix, without its numbers. */
export interface MatrixShape {
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
  /** Whether the data is [outputs, inputs] or [inputs, outputs]. */
  readonly layout: 'outputs-first' | 'inputs-first';
}

/** A float32 matrix in either layout. */
export interface DenseMatrix extends MatrixShape {
  readonly data: Float32Array;
}

/** A matrix's shape in its layout. */
export function matrixShape({ outputs, inputs, layout }: Omit<MatrixShape, 'name'>): [number, number] {
  return layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
}

/** How far stored weights are from the given ones. */
export interface WeightError {
  /** Largest error over the largest weight. */
  readonly max: number;
  /** RMS error over RMS weight. */
  readonly rms: number;
}

/** A stored matrix's parts, by name. */
export interface EncodedMatrix {
  readonly parts: Readonly<Record<string, Tensor>>;
  readonly sums: ErrorSums;
}

/** How a matrix is stored: the output of `halfEncoder`, `byteEncoder` or `blockEncoder`. */
export type Encoding =
  | { readonly kind: 'halves' }
  | { readonly kind: 'bytes'; readonly layout: MatrixShape['layout'] }
  | { readonly kind: 'blocks'; readonly size: BlockSize };

/** Encodes a matrix from its rows, given in order in any number of pieces. */
export interface MatrixEncoder {
  /** Whether rows may come in the data's own layout; false: rows are outputs. */
  readonly anyLayout: boolean;
  /** Takes the next whole rows, without keeping them. */
  add(rows: Float32Array): void;
  /** Call after the last row. */
  finish(): EncodedMatrix;
}

/** @param encode encodes four-bit blocks; default: JavaScript */
export function matrixEncoder(matrix: MatrixShape, encoding: Encoding, encode?: EncodeBlocks): MatrixEncoder {
  if (encoding.kind === 'halves') return halfEncoder(matrix);
  if (encoding.kind === 'bytes') return byteEncoder(matrix, encoding.layout);
  return blockEncoder(matrix, encoding.size, encode);
}

/** Encodes a matrix in memory. */
export function encodeMatrix(encoder: MatrixEncoder, matrix: DenseMatrix): EncodedMatrix {
  if (encoder.anyLayout || matrix.layout === 'outputs-first') encoder.add(matrix.data);
  else for (const rows of gatheredRows(matrix)) encoder.add(rows);
  return encoder.finish();
}

/** Outputs visited together, so that reading and writing across rows stays in the cache. */
const bandOutputs = 64;

/** The outputs of a matrix [inputs, outputs] as rows, some at a time. */
function* gatheredRows({ data, inputs, outputs }: DenseMatrix): Generator<Float32Array> {
  const band = new Float32Array(Math.min(bandOutputs, outputs) * inputs);
  for (let first = 0; first < outputs; first += bandOutputs) {
    const count = Math.min(bandOutputs, outputs - first);
    for (let input = 0; input < inputs; input++) {
      const from = input * outputs + first;
      for (let i = 0; i < count; i++) band[i * inputs + input] = data[from + i];
    }
    yield band.subarray(0, count * inputs);
  }
}

function noErrors(): ErrorSums {
  return { peak: 0, worst: 0, squares: 0, squaredErrors: 0 };
}

function addErrors(all: ErrorSums, { peak, worst, squares, squaredErrors }: ErrorSums): void {
  all.peak = Math.max(all.peak, peak);
  all.worst = Math.max(all.worst, worst);
  all.squares += squares;
  all.squaredErrors += squaredErrors;
}

/**
 * The error of a matrix encoded in pieces.
 * @throws LinnetError `TENSOR` for numbers that are not finite, or too large for the type
 */
export function weightError(name: string, pieces: readonly Pick<EncodedMatrix, 'sums'>[]): WeightError {
  const all = noErrors();
  for (const { sums } of pieces) addErrors(all, sums);
  // NaN and infinity persist in a sum.
  if (!Number.isFinite(all.squares + all.squaredErrors)) {
    throw new LinnetError('TENSOR', `"${name}" holds numbers that are not finite, or too large for its new type`);
  }
  if (all.peak === 0) return { max: 0, rms: 0 };
  return { max: all.worst / all.peak, rms: Math.sqrt(all.squaredErrors / all.squares) };
}

/** Codes start at −127: −128 would have no opposite. */
const byteRange = 127;

/**
 * Eight bits with a scale per output: `codes` int8 and `scales` float32 [outputs], weight ≈ code · scale.
 * @param layout the codes': [inputs, outputs] for products, [outputs, inputs] for looking up rows
 */
export function byteEncoder(matrix: MatrixShape, layout: MatrixShape['layout']): MatrixEncoder {
  const { inputs, outputs } = matrix;
  const codes = new Int8Array(outputs * inputs);
  const scales = new Float32Array(outputs);
  const errors = noErrors();
  const band = new Int8Array(layout === 'inputs-first' ? Math.min(bandOutputs, outputs) * inputs : 0);
  let output = 0;
  const encode = (rows: Float32Array, target: Int8Array): void => {
    for (let row = 0; row < rows.length; row += inputs) {
      scales[output++] = encodeByteRow(rows, row, row + inputs, target, errors);
    }
  };
  return {
    anyLayout: false,
    add(rows) {
      if (layout === 'outputs-first') {
        encode(rows, codes.subarray(output * inputs));
        return;
      }
      for (let start = 0; start < rows.length; start += bandOutputs * inputs) {
        const first = output;
        encode(rows.subarray(start, start + bandOutputs * inputs), band);
        putColumns(band, first, output, codes, outputs);
      }
    },
    finish() {
      const shape = matrixShape({ outputs, inputs, layout });
      return {
        parts: { codes: tensor('int8', shape, codes), scales: tensor('float32', [outputs], scales) },
        sums: errors,
      };
    },
  };
}

/** Encodes rows[start, end) at the same place in `codes`. @returns their scale */
function encodeByteRow(rows: Float32Array, start: number, end: number, codes: Int8Array, errors: ErrorSums): number {
  let peak = 0;
  for (let i = start; i < end; i++) {
    const size = Math.abs(rows[i]);
    if (size > peak) peak = size;
  }
  const scale = Math.fround(peak / byteRange);
  const perCode = scale === 0 ? 0 : 1 / scale;
  let { worst } = errors;
  let squares = 0;
  let squaredErrors = 0;
  for (let i = start; i < end; i++) {
    const weight = rows[i];
    // Rounding may put the largest weight a hair above its code.
    const rounded = weight * perCode + roundingShift - roundingShift;
    const code = rounded > byteRange ? byteRange : rounded < -byteRange ? -byteRange : rounded;
    codes[i] = code;
    const error = Math.abs(weight - code * scale);
    squares += weight * weight;
    squaredErrors += error * error;
    if (error > worst) worst = error;
  }
  addErrors(errors, { peak, worst, squares, squaredErrors });
  return scale;
}

/** Writes rows [last − first, inputs] to columns `first` to `last` of codes [inputs, outputs]. */
function putColumns(rows: Int8Array, first: number, last: number, codes: Int8Array, outputs: number): void {
  const inputs = codes.length / outputs;
  for (let input = 0; input < inputs; input++) {
    const to = input * outputs;
    for (let output = first, from = input; output < last; output++, from += inputs) codes[to + output] = rows[from];
  }
}

/**
 * Four bits with a scale per block of inputs: `codes` uint8 [outputs, blocks, size/2], two per byte, and `scales` float32
 * [outputs, blocks]; weight ≈ (code − 8) · scale. Takes the one of a few scales with the least squared error.
 */
export function blockEncoder(
  { inputs, outputs }: MatrixShape,
  size: BlockSize,
  encode: EncodeBlocks = encodeBlocks,
): MatrixEncoder {
  const blocks = blocksPerRow(inputs, size);
  const codes = new Uint8Array((outputs * blocks * size) / 2);
  const scales = new Float32Array(outputs * blocks);
  const errors = noErrors();
  const padded = new Float32Array(inputs % size === 0 ? 0 : blocks * size);
  let block = 0;
  const add = (weights: Float32Array): void => {
    encode(weights, size, codes.subarray((block * size) / 2), scales.subarray(block), errors);
    block += weights.length / size;
  };
  return {
    anyLayout: false,
    add(rows) {
      if (padded.length === 0) {
        add(rows);
        return;
      }
      for (let start = 0; start < rows.length; start += inputs) {
        padded.set(rows.subarray(start, start + inputs));
        add(padded);
      }
    },
    finish: () => ({
      parts: {
        codes: tensor('uint8', [outputs, blocks, size / 2], codes),
        scales: tensor('float32', [outputs, blocks], scales),
      },
      sums: errors,
    }),
  };
}

/** Numbers rounded per chunk, so that the results stay in the cache. */
const halfChunk = 1 << 14;

/** Half precision: `halves` float16, in the matrix's layout. */
export function halfEncoder(matrix: MatrixShape): MatrixEncoder {
  const halves = new Uint16Array(matrix.outputs * matrix.inputs);
  const errors = noErrors();
  const stored = new Float32Array(Math.min(halfChunk, halves.length));
  let done = 0;
  return {
    anyLayout: true,
    add(rows) {
      for (let start = 0; start < rows.length; start += halfChunk) {
        const given = rows.subarray(start, start + halfChunk);
        const rounded = halves.subarray(done, done + given.length);
        addHalfErrors(given, float32FromFloat16(float16FromFloat32(given, rounded), stored), errors);
        done += given.length;
      }
    },
    finish: () => ({ parts: { halves: tensor('float16', matrixShape(matrix), halves) }, sums: errors }),
  };
}

function addHalfErrors(given: Float32Array, stored: Float32Array, errors: ErrorSums): void {
  let peak = 0;
  let { worst } = errors;
  let squares = 0;
  let squaredErrors = 0;
  for (let i = 0; i < given.length; i++) {
    const size = Math.abs(given[i]);
    const error = Math.abs(given[i] - stored[i]);
    squares += size * size;
    squaredErrors += error * error;
    if (error > worst) worst = error;
    if (size > peak) peak = size;
  }
  addErrors(errors, { peak, worst, squares, squaredErrors });
}
