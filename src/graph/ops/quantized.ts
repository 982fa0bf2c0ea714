/**
 * Products and lookups with quantized weights. None has a gradient: rounding has none, and no optimizer can update codes.
 * Train in float32 and quantize the result.
 */
import { defineFunction, defineOp, type NoAttributes, type OpFunction, type Value } from '../graph.ts';
import { elementTypes } from '../onnx/model.ts';
import { type DType, type Dim, int64, sameShape, shapeError, tensor } from '../tensor.ts';

/** Weights per scale in blocks that the products support. */
export const blockSizes = [32, 64, 128] as const;
export type BlockSize = (typeof blockSizes)[number];
/** The four-bit code of 0. */
export const blockZeroPoint = 8;
/** The code of 0 in quantized activations. */
export const rowZeroPoint = 128;

/** Blocks of `size` in rows of `width` numbers; the last may be partly empty. */
export function blocksPerRow(width: number, size: number): number {
  return Math.ceil(width / size);
}

const roundingHasNone = { notDifferentiable: 'rounding has no useful derivative; train in float32 and quantize then' };
const codesHaveNone = { notDifferentiable: 'its weights are integer codes; train in float32 and quantize then' };

function requireType(op: string, value: Value, dtype: DType, what: string): void {
  if (value.dtype !== dtype) throw shapeError(op, `${what} must be ${dtype}, got ${value}`);
}

export const quantizeRowsOp = defineOp<NoAttributes>({
  name: 'quantizeRows',
  infer([x]) {
    requireType('quantizeRows', x, 'float32', 'x');
    if (x.rank < 2) throw shapeError('quantizeRows', `needs rows, got ${x}`);
    return [
      { dtype: 'uint8', shape: x.shape },
      { dtype: 'float32', shape: [...x.shape.slice(0, -1), 1] },
    ];
  },
  // Not DynamicQuantizeLinear: its one scale for the whole tensor would let rows influence each other.
  lower(emitter, { inputs: [x], outputs: [codes, scales] }) {
    const peak = emitter.step('ReduceMax', [emitter.step('Abs', [x]), int64([1], [-1])]); // keeps the axis
    // Any scale serves a row of zeros; its quotient stays 0.
    emitter.emit('Mul', [emitter.step('Max', [peak, smallestPeak]), 1 / 127], [scales]);
    // Casting drops the fraction of numbers ≥ 1 here, so adding a half rounds; Round took twice as long as any other op.
    const shifted = emitter.step('Add', [emitter.step('Div', [x, scales]), rowZeroPoint + 0.5]);
    emitter.emit('Cast', [shifted], [codes], { to: { int: elementTypes.uint8 } });
  },
  gradient: roundingHasNone,
});

const smallestPeak = 1e-30;

/**
 * Quantizes rows to eight bits, each by its own largest magnitude: a row's result does not depend on other rows, so a token
 * tree's nodes give the results of sequential decoding.
 *
 * @param x float32 [..., K]
 * @returns `codes` uint8 [..., K] and `scales` float32 [..., 1]: x ≈ (codes − 128) · scales
 */
export function quantizeRows(x: Value): { readonly codes: Value; readonly scales: Value } {
  const [codes, scales] = quantizeRowsOp.apply([x], {});
  return { codes, scales };
}

export const integerMatmulOp = defineOp<NoAttributes>({
  name: 'integerMatmul',
  infer([codes, scales, weights, weightScales]) {
    requireType('integerMatmul', codes, 'uint8', 'codes');
    requireType('integerMatmul', weights, 'int8', 'weights');
    const [K, N] = weights.shape;
    const rows = codes.shape.slice(0, -1);
    const fits =
      weights.rank === 2 &&
      codes.shape.at(-1) === K &&
      sameShape(scales.shape, [...rows, 1]) &&
      sameShape(weightScales.shape, [N]);
    if (!fits) {
      throw shapeError('integerMatmul', `${codes} and ${scales} do not fit weights ${weights} and ${weightScales}`);
    }
    return [{ dtype: 'float32', shape: [...rows, N] }];
  },
  // One op including the weights' scales; with Cast and Mul after MatMulInteger 16 rows took 1.8 times as long. It takes
  // one scale for all activations, so a Mul applies theirs. On saturating pairs of products see runtime/kernel-probes.ts.
  lower(emitter, { inputs: [codes, scales, weights, weightScales], outputs }) {
    const zeroPoint = tensor('uint8', [], Uint8Array.of(rowZeroPoint));
    const operands = [codes, weights, 1, weightScales, zeroPoint];
    const product = emitter.step('MatMulIntegerToFloat', operands, {}, 'com.microsoft');
    emitter.emit('Mul', [product, scales], outputs);
  },
  gradient: codesHaveNone,
});

/**
 * Quantized rows times an eight-bit matrix with a scale per column, summed in integers.
 *
 * @param rows from `quantizeRows` for x [..., K]
 * @param weights int8 [K,N]
 * @param weightScales float32 [N]
 * @returns float32 [..., N] ≈ x · (weights · weightScales)
 */
export function integerMatmul(
  rows: { readonly codes: Value; readonly scales: Value },
  weights: Value,
  weightScales: Value,
): Value {
  return integerMatmulOp.first([rows.codes, rows.scales, weights, weightScales], {});
}

type BlockAttributes = { readonly width: number; readonly bits: number };

/** Smallest block size: products with files' own codes support it too. */
const smallestBlock = 16;

/** Size of blocks whose codes are [N,blocks,size·bits/8]. */
function codedBlockSize(op: string, codes: Value, bits: number): number {
  const size = (8 * Number(codes.shape[2])) / bits;
  if (codes.rank === 3 && (size === smallestBlock || blockSizes.some((known) => known === size))) return size;
  throw shapeError(
    op,
    `codes ${codes} are not blocks of ${smallestBlock}, ${blockSizes.join(', ')} codes of ${bits} bits`,
  );
}

export const blockMatmulOp = defineOp<BlockAttributes>({
  name: 'blockMatmul',
  infer([x, codes, scales, ...zeros], { width, bits }) {
    requireType('blockMatmul', x, 'float32', 'x');
    requireType('blockMatmul', codes, 'uint8', 'codes');
    const [N, count] = codes.shape;
    const blocks = blocksPerRow(width, codedBlockSize('blockMatmul', codes, bits));
    const packed = [N, Math.ceil((blocks * bits) / 8)];
    const fits =
      x.shape.at(-1) === width &&
      count === blocks &&
      sameShape(scales.shape, [N, blocks]) &&
      zeros.every(({ dtype, shape }) => dtype === 'uint8' && sameShape(shape, packed));
    if (!fits) throw shapeError('blockMatmul', `${x} does not fit codes ${codes} and scales ${scales}`);
    return [{ dtype: 'float32', shape: [...x.shape.slice(0, -1), N] }];
  },
  lower(emitter, { inputs, outputs }, { width, bits }) {
    const [, codes] = inputs;
    const attributes = {
      K: { int: width },
      N: { int: Number(codes.shape[0]) },
      bits: { int: bits },
      block_size: { int: codedBlockSize('blockMatmul', codes, bits) },
      // Eight-bit activations with a scale per block of a row, if the device has the kernel.
      accuracy_level: { int: 4 },
    };
    emitter.emit('MatMulNBits', inputs, outputs, attributes, 'com.microsoft');
  },
  gradient: codesHaveNone,
});

/**
 * Rows times a four- or eight-bit matrix with a scale per block of 16, 32, 64 or 128: weight = (code − zero) · scale.
 *
 * @param x float32 [..., K]
 * @param codes uint8 [N, ⌈K/size⌉, size·bits/8], the first of two codes in a byte's lower half
 * @param scales float32 [N, ⌈K/size⌉]
 * @param form.bits default 4
 * @param form.zeros uint8 [N, ⌈⌈K/size⌉·bits/8⌉], packed like codes. Default: 2^(bits−1) for all
 * @returns float32 [..., N]
 * @throws LinnetError `SHAPE` for codes of another block size
 */
export function blockMatmul(
  x: Value,
  codes: Value,
  scales: Value,
  { bits = 4, zeros }: { readonly bits?: 4 | 8; readonly zeros?: Value } = {},
): Value {
  const inputs = [x, codes, scales, ...(zeros === undefined ? [] : [zeros])];
  return blockMatmulOp.first(inputs, { width: Number(x.shape.at(-1)), bits });
}

/**
 * Looks up rows of a four-bit table, block by block.
 *
 * @param codes uint8 [N,blocks,size/2] and `scales` float32 [N,blocks], see `blockMatmul`
 * @param indices int32 [...]
 * @returns float32 [...,blocks,size]
 */
export const blockGather: OpFunction<[codes: Value, scales: Value, indices: Value]> = defineFunction({
  name: 'blockGather',
  infer([codes, scales, indices]) {
    requireType('blockGather', codes, 'uint8', 'codes');
    requireType('blockGather', indices, 'int32', 'indices');
    const size = codedBlockSize('blockGather', codes, 4);
    const [rows, blocks] = codes.shape;
    if (!sameShape(scales.shape, [rows, blocks])) {
      throw shapeError('blockGather', `scales ${scales} do not fit codes ${codes}`);
    }
    const outer: Dim[] = [...indices.shape, blocks];
    return [{ dtype: 'float32', shape: [...outer, size] }];
  },
  lower(emitter, { inputs: [codes, scales, indices], outputs }) {
    const attributes = {
      gather_axis: { int: 0 },
      quantize_axis: { int: 2 },
      block_size: { int: codedBlockSize('blockGather', codes, 4) },
      bits: { int: 4 },
    };
    // The op needs as many axes in the scales as in the codes; the product refuses a third.
    const perBlock = emitter.step('Reshape', [scales, int64([3], [0, 0, 1])]);
    emitter.emit('GatherBlockQuantized', [codes, indices, perBlock], outputs, attributes, 'com.microsoft');
  },
  gradient: codesHaveNone,
});
