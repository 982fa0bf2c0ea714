/** One matrix of a quantized folder: its parts, checked against each other, as weights and as codes for products. */
import type { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { JoinedWeights } from '../joined-weights.ts';
import type { CodedMatrix, CodedParts, CodeForm, WeightInfo } from '../weight-file.ts';
import { type Quantization, type QuantizedMethod, quantizationError } from './config.ts';
import { packedRows, wholeZeros } from '../packed-codes.ts';
import { awqOrder, float8Values, sortedColumns, sortedInputs, turned, unpackedCodes } from './layouts.ts';

/** A matrix's part names, which follow its module's name, and the parts' layout. */
interface PartNames {
  readonly codes: string;
  readonly scales: string;
  /** Values added to multiplied codes. */
  readonly least?: string;
  readonly zeros?: string;
  /** Every input's group. */
  readonly groups?: string;
  /** The matrix's shape. */
  readonly shape?: string;
  /** Code types: 32-bit words, or eight-bit values. */
  readonly types: readonly string[];
  /** Whether parts have a column per output. */
  readonly inputsFirst?: boolean;
  /** Axis along which codes, or zero points, share a word. Default: 1. */
  readonly codeAxis?: 0;
  readonly zeroAxis?: 0;
  readonly order?: readonly number[];
}

const words = ['I32', 'U32'];
const floats = ['F16', 'BF16', 'F32'];

const partNames: Readonly<Record<QuantizedMethod, readonly PartNames[]>> = {
  'compressed-tensors': [
    {
      codes: 'weight_packed',
      scales: 'weight_scale',
      zeros: 'weight_zero_point',
      groups: 'weight_g_idx',
      shape: 'weight_shape',
      types: words,
      zeroAxis: 0,
    },
    { codes: 'weight', scales: 'weight_scale', types: ['I8', 'F8_E4M3'] },
  ],
  fp8: [
    { codes: 'weight', scales: 'weight_scale_inv', types: ['F8_E4M3'] },
    { codes: 'weight', scales: 'weight_scale', types: ['F8_E4M3'] },
  ],
  gptq: [
    {
      codes: 'qweight',
      scales: 'scales',
      zeros: 'qzeros',
      groups: 'g_idx',
      types: words,
      inputsFirst: true,
      codeAxis: 0,
    },
  ],
  awq: [{ codes: 'qweight', scales: 'scales', zeros: 'qzeros', types: words, inputsFirst: true, order: awqOrder }],
  mlx: [{ codes: 'weight', scales: 'scales', least: 'biases', types: words }],
};

/** Parts that round activations, or repeat others: results do not need them. */
const unusedPart = /\.(input|output|[kqv])_(scale|zero_point|global_scale)$|\.input_global_scale$/;

export function isUnusedPart(name: string): boolean {
  return unusedPart.test(name);
}

const partKeys = ['codes', 'scales', 'least', 'zeros', 'groups', 'shape'] as const;
type Part = (typeof partKeys)[number];

/** A module's matrix parts in the files. Methods throw LinnetError `TENSOR` for a missing part. */
function partsOf(module: string, names: PartNames, files: JoinedWeights) {
  const malformed = (what: string): LinnetError =>
    quantizationError(files.path, `the matrix ${quoteName(module)} cannot be read: ${what}`, 'TENSOR');
  const has = (part: Part): boolean => files.has(`${module}.${names[part] ?? ''}`);
  const tensorOf = (part: Part): string => {
    const name = `${module}.${names[part] ?? part}`;
    if (has(part)) return name;
    throw malformed(`${quoteName(name)} is missing`);
  };
  const stored = (part: Part): WeightInfo => files.info(tensorOf(part));
  return {
    module,
    names,
    malformed,
    has,
    tensorOf,
    stored,
    /** In a fixed order. */
    tensors: partKeys.filter(has).map(tensorOf),
    floats: async (part: Part): Promise<Float32Array> => (await files.readFloat32(tensorOf(part))).data,
    bytes: async (part: Part): Promise<Uint8Array<ArrayBuffer>> => {
      const all = new Uint8Array(stored(part).byteLength);
      let end = 0;
      for await (const chunk of files.chunks(tensorOf(part))) {
        all.set(chunk, end);
        end += chunk.length;
      }
      return all;
    },
    /** A `weight_shape`'s numbers. */
    shape: async (): Promise<readonly number[] | undefined> => {
      if (!has('shape') || stored('shape').byteLength > mostShapeBytes) return undefined;
      const { data } = await files.read(tensorOf('shape'));
      return Array.from(data, Number);
    },
  };
}

type Parts = ReturnType<typeof partsOf>;

/** Largest `weight_shape` in bytes. */
const mostShapeBytes = 64;
/** Block sizes that products take, largest first. */
const blockSizes = [128, 64, 32, 16] as const;
const codeBits = [4, 8] as const;
/** Most weights in a matrix. */
const mostWeights = 2 ** 32;

/** A matrix's stored numbers: one code per byte, by outputs. */
interface Numbers {
  readonly codes: Uint8Array;
  /** Like the next two [outputs, groups]; for floats as stored. */
  readonly scales: Float32Array;
  readonly zeros?: Uint8Array;
  readonly least?: Float32Array;
  /** Every input's group, if a group's inputs lie apart. */
  readonly groups?: Int32Array;
}

/** A matrix in its files: N outputs, K inputs, and G groups of inputs that share a scale. */
type Layout = ReturnType<typeof layoutOf>;

/** Checks the parts' types and shapes. @param shape from `weight_shape` @throws LinnetError `TENSOR` */
function layoutOf(parts: Parts, quantization: Quantization, shape: readonly number[] | undefined) {
  const { names, module, has, stored, malformed } = parts;
  const { codes: name, types, inputsFirst = false, codeAxis = 1, zeroAxis } = names;
  const { dtype, shape: codes } = stored('codes');
  const { shape: scales } = stored('scales');
  if (codes.length !== 2 || scales.length > 2) throw malformed('its parts are not matrices');
  if (!types.includes(dtype)) throw malformed(`its codes are ${dtype}, expected ${types.join(' or ')}`);
  const scaleShape = scales.length === 2 ? scales : [scales[0] ?? 1, 1];
  const [down, G] = inputsFirst ? scaleShape.toReversed() : scaleShape;
  const [, wordColumns] = codes;
  /** Codes per word, from the parts' sizes. */
  const counts: Readonly<Partial<Record<QuantizedMethod, number>>> = {
    'compressed-tensors': shape && Math.round(shape[1] / wordColumns),
    mlx: (quantization.groupOf(module) * G) / wordColumns,
    gptq: has('zeros') ? wordColumns / stored('zeros').shape[1] : undefined,
    awq: 8,
  };
  const isPacked = words.includes(dtype);
  const perWord = isPacked ? (counts[quantization.method] ?? Number.NaN) : 1;
  const bits = codeBits.find((one) => one === (isPacked ? 32 / perWord : 8));
  if (bits === undefined) throw malformed(`its ${name} [${codes.join(',')}] holds no codes of 4 or 8 bits`);
  const unpacked = codes.map((size, axis) => (axis === codeAxis ? size * perWord : size));
  const [N, K] = inputsFirst ? unpacked.toReversed() : unpacked;
  if (N * K > mostWeights || N < 1 || K < 1) throw malformed(`it has ${N} × ${K} weights`);
  if (shape !== undefined && String(shape) !== String([N, K]))
    throw malformed(`its codes are [${N},${K}], not [${shape.join(',')}]`);
  const isFloat = dtype === 'F8_E4M3';
  if (!isFloat && (G < 1 || K % G !== 0)) throw malformed(`${G} groups do not divide ${K} inputs`);
  if (!isFloat && down !== N && String(scaleShape) !== '1,1')
    throw malformed(`it has scales for ${down} of ${N} outputs`);
  /** Outputs or inputs per scale. @param scaled number of scales @param block size from the configuration */
  const blockSize = (count: number, scaled: number, block = 0): number => {
    const size = scaled === 1 ? count : scaled === count ? 1 : block;
    if (Math.ceil(count / size) === scaled) return size;
    throw malformed(`${scaled} scales do not fit a side of ${count}`);
  };
  const [rows, columns] = quantization.block ?? [];
  const block = isFloat ? [blockSize(N, down, rows), blockSize(K, G, columns)] : [1, K / G];
  const check = (part: Part, expected: readonly string[], wanted: readonly number[]): void => {
    if (!has(part)) return;
    const { dtype: type, shape: own } = stored(part);
    const full = part === 'least' && own.length === 1 ? [...own, 1] : own;
    if (expected.includes(type) && String(full) === String(wanted)) return;
    const found = `${quoteName(parts.tensorOf(part))} is ${type} [${own.join(',')}]`;
    throw malformed(`${found}, expected ${expected.join(' or ')} [${wanted.join(',')}]`);
  };
  check('zeros', words, zeroAxis === 0 ? [Math.ceil(N / perWord), G] : [G, N / perWord]);
  check('groups', ['I32'], [K]);
  check('scales', floats, scales);
  check('least', floats, scaleShape);
  if (inputsFirst) stored('zeros');
  if (names.least !== undefined) stored('least');
  return {
    ...parts,
    N,
    K,
    G,
    bits,
    isFloat,
    inputsFirst,
    type: isFloat ? dtype : `${quantization.method}-${bits}`,
    /** Outputs and inputs per scale. */
    block,
    isOrdered: (!inputsFirst || quantization.ordered) && has('groups') && G > 1,
    zeroShift: quantization.zeroShift,
  };
}

/** A matrix [outputs, inputs], under the model's name for it. */
export type QuantizedMatrix = Awaited<ReturnType<typeof matrixOf>>;

async function matrixOf(parts: Parts, quantization: Quantization, files: JoinedWeights) {
  const layout = layoutOf(parts, quantization, await parts.shape());
  const { module, tensors, N, K, type } = layout;
  const byteLength = tensors.reduce((sum, tensor) => sum + files.info(tensor).byteLength, 0);
  return {
    name: `${module}.weight`,
    tensors,
    info: { dtype: type, shape: [N, K], byteLength },
    /** Its weights. @throws LinnetError `TENSOR` for parts that do not fit together */
    weights: () => weightsOf(layout),
    coded: codedMatrix(layout),
  };
}

/**
 * The matrix whose codes a tensor holds; undefined for other tensors.
 * @throws LinnetError `TENSOR` for parts that do not fit together
 */
export async function matrixAround(
  name: string,
  quantization: Quantization,
  files: JoinedWeights,
): Promise<QuantizedMatrix | undefined> {
  for (const names of partNames[quantization.method]) {
    const module = name.slice(0, -names.codes.length - 1);
    if (name !== `${module}.${names.codes}` || !files.has(`${module}.${names.scales}`)) continue;
    return await matrixOf(partsOf(module, names, files), quantization, files);
  }
  return undefined;
}

async function weightsOf(layout: Layout): Promise<Float32Array> {
  const { N, K, G, bits, isFloat, block } = layout;
  const values = new Float32Array(N * K);
  const { codes, scales, zeros, least, groups } = await numbersOf(layout);
  const table = isFloat ? float8Values() : Float32Array.from(Array(256).keys());
  const middle = isFloat ? 0 : 2 ** (bits - 1);
  const [rows, columns] = block;
  for (let n = 0, i = 0; n < N; n++) {
    const row = Math.floor(n / rows) * G;
    for (let k = 0; k < K; k++, i++) {
      const at = row + (groups === undefined ? Math.floor(k / columns) : groups[k]);
      const code = table[codes[i]];
      values[i] = least === undefined ? (code - (zeros?.[at] ?? middle)) * scales[at] : code * scales[at] + least[at];
    }
  }
  return values;
}

/** Its codes for products; undefined for floats, and for groups no product supports. */
function codedMatrix(layout: Layout): CodedMatrix | undefined {
  const { N, K, G, bits, has, isFloat, isOrdered, names } = layout;
  const size = blockSizes.find((one) => (K / G) % one === 0);
  if (size === undefined || isFloat) return undefined;
  const minima = names.least !== undefined;
  const form: CodeForm = { bits, size, minima, zeros: has('zeros'), ordered: isOrdered };
  return { form, inputs: K, outputs: N, pieces: () => codedParts(layout, form) };
}

async function* codedParts(layout: Layout, form: CodeForm): AsyncGenerator<CodedParts> {
  const { N, K } = layout;
  const { codes, scales, zeros, least, groups } = await numbersOf(layout);
  const blocks = (N * K) / form.size;
  const repeats = blocks / scales.length;
  const spread = <T extends Float32Array | Uint8Array>(values: T, room: T): T => {
    for (let i = 0; i < blocks; i++) room[i] = values[Math.floor(i / repeats)];
    return room;
  };
  const order = groups && sortedInputs(groups);
  const parts = {
    codes: packedRows(order === undefined ? codes : sortedColumns(codes, order), N, form.bits),
    scales: spread(scales, new Float32Array(blocks)),
    order,
  };
  if (zeros !== undefined) {
    yield { ...parts, zeros: packedRows(spread(zeros, new Uint8Array(blocks)), N, form.bits) };
  } else if (least !== undefined) {
    const minima = spread(least, new Float32Array(blocks)).map((value) => -value);
    yield { ...parts, ...wholeZeros({ scales: parts.scales, minima }, N, form), minima };
  } else yield parts;
}

async function numbersOf(layout: Layout): Promise<Numbers> {
  const { N, K, G, bits, inputsFirst, names, has, zeroShift } = layout;
  const byOutput = <T extends Uint8Array | Float32Array>(values: T, room: T, columns: number): T =>
    inputsFirst ? turned(values, room, columns, N) : values;
  const codes = await codesOf(layout, 'codes', names.codeAxis);
  const scales = await layout.floats('scales');
  let zeros: Uint8Array | undefined;
  if (has('zeros')) {
    const stored = (await codesOf(layout, 'zeros', names.zeroAxis)).subarray(0, N * G);
    const most = 2 ** bits - 1;
    if (zeroShift > 0 && stored.includes(most)) {
      throw layout.malformed(`a zero point is ${most + 1}, which no code of ${bits} bits has; take its gptq_v2`);
    }
    zeros = byOutput(stored, new Uint8Array(N * G), G).map((zero) => zero + zeroShift);
  }
  return {
    codes: byOutput(codes, new Uint8Array(inputsFirst ? N * K : 0), K),
    scales:
      scales.length === 1 ? new Float32Array(N * G).fill(scales[0]) : byOutput(scales, new Float32Array(N * G), G),
    zeros,
    least: has('least') ? await layout.floats('least') : undefined,
    groups: await groupOfInputs(layout),
  };
}

/** Every input's group; undefined if groups are runs of neighbors. */
async function groupOfInputs({ K, G, has, bytes, isOrdered, malformed }: Layout): Promise<Int32Array | undefined> {
  if (!has('groups') || G === 1) return undefined;
  const groups = new Int32Array((await bytes('groups')).buffer);
  const size = K / G;
  const counts = new Uint32Array(G);
  for (const group of groups) if (group >= 0 && group < G) counts[group]++;
  if (!counts.every((count) => count === size)) throw malformed('its groups of inputs differ in size');
  if (isOrdered) return groups;
  if (groups.every((group, k) => group === Math.floor(k / size))) return undefined;
  throw malformed('inputs of its groups lie apart, but its configuration does not set desc_act');
}

/** A part's codes, one per byte. */
async function codesOf({ bytes, stored, bits, names }: Layout, part: Part, axis: 0 | 1 = 1): Promise<Uint8Array> {
  const own = await bytes(part);
  const { dtype, shape } = stored(part);
  if (!words.includes(dtype)) return dtype === 'I8' ? own.map((code) => code ^ 128) : own;
  const [rows, columns] = shape;
  return unpackedCodes(new Uint32Array(own.buffer), { bits, shape: [rows, columns], axis, order: names.order });
}
