/** One matrix of a quantized folder: its parts, checked against each other, as weights and as codes for products. */
import type { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { JoinedWeights } from '../joined-weights.ts';
import type { CodedMatrix, CodedParts, CodeForm, WeightInfo } from '../weight-file.ts';
import { type Quantization, type QuantizedMethod, quantizationError } from './config.ts';
import { packedRows, wholeZeros } from '../packed-codes.ts';
import { awqOrder, float8Values, sortedColumns, sortedInputs, turned, unpackedCodes } from './layouts.ts';

/** Names of the parts of a matrix after the name of its module, and how they lie. */
interface PartNames {
  readonly codes: string;
  readonly scales: string;
  /** What multiplied codes are added to. */
  readonly least?: string;
  readonly zeros?: string;
  /** Group of every input. */
  readonly groups?: string;
  /** Shape of the matrix. */
  readonly shape?: string;
  /** Types of the codes: words of 32 bits, or values of eight. */
  readonly types: readonly string[];
  /** Whether parts have columns for outputs. */
  readonly inputsFirst?: boolean;
  /** Axis of codes that share a word, and of zero points. Default: 1. */
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

/** Parts that round activations, or repeat what others say: results do not need them. */
const unusedPart = /\.(input|output|[kqv])_(scale|zero_point|global_scale)$|\.input_global_scale$/;

export function isUnusedPart(name: string): boolean {
  return unusedPart.test(name);
}

const partKeys = ['codes', 'scales', 'least', 'zeros', 'groups', 'shape'] as const;
type Part = (typeof partKeys)[number];

/** The parts of a matrix, and their names in the files. */
interface MatrixParts {
  readonly module: string;
  readonly names: PartNames;
  readonly tensors: Readonly<Partial<Record<Part, string>>>;
}

/** The parts of the matrix whose codes a tensor holds; undefined for other tensors. */
export function partsAround(name: string, { method }: Quantization, files: JoinedWeights): MatrixParts | undefined {
  for (const names of partNames[method]) {
    if (!name.endsWith(`.${names.codes}`)) continue;
    const module = name.slice(0, -names.codes.length - 1);
    if (!files.has(`${module}.${names.scales}`)) continue;
    const tensors: Partial<Record<Part, string>> = {};
    for (const key of partKeys) {
      const tensor = `${module}.${names[key] ?? ''}`;
      if (files.has(tensor)) tensors[key] = tensor;
    }
    return { module, names, tensors };
  }
  return undefined;
}

/** Sizes of blocks that products take, the largest first. */
const blockSizes = [128, 64, 32, 16] as const;
/** Largest number of weights of a matrix. */
const mostWeights = 2 ** 32;

/** The numbers of a matrix as they are stored: a code a byte, by outputs. */
interface Numbers {
  readonly codes: Uint8Array;
  /** Like the next two [outputs, groups]; of floats as they are stored. */
  readonly scales: Float32Array;
  readonly zeros?: Uint8Array;
  readonly least?: Float32Array;
  /** Group of every input, where inputs of a group are apart. */
  readonly groups?: Int32Array;
}

/** A matrix [outputs, inputs]. */
export class QuantizedMatrix {
  readonly outputs: number;
  readonly inputs: number;
  readonly info: WeightInfo;
  readonly #bits: 4 | 8;
  /** Groups of inputs that have a scale, and sizes of the blocks that have one. */
  readonly #groups: number;
  readonly #block: readonly [outputs: number, inputs: number];
  readonly #type: string;
  readonly #parts: MatrixParts;
  readonly #quantization: Quantization;
  readonly #files: JoinedWeights;

  /** Checks types and shapes of the parts. @param shape of `weight_shape` @throws LinnetError `TENSOR` */
  constructor(
    parts: MatrixParts,
    quantization: Quantization,
    files: JoinedWeights,
    shape: readonly number[] | undefined,
  ) {
    this.#parts = parts;
    this.#quantization = quantization;
    this.#files = files;
    const { codes: name, types, inputsFirst = false, codeAxis = 1, zeroAxis } = parts.names;
    const { dtype, shape: codes } = this.#info('codes');
    const { shape: scales } = this.#info('scales');
    if (codes.length !== 2 || scales.length > 2) throw this.#malformed('its parts are no matrices');
    if (!types.includes(dtype)) throw this.#malformed(`its codes are ${dtype}, expected ${types.join(' or ')}`);
    this.#type = dtype;
    const scaleShape = scales.length === 2 ? scales : [scales[0] ?? 1, 1];
    const [down, G] = inputsFirst ? scaleShape.toReversed() : scaleShape;
    this.#groups = G;
    const isPacked = words.includes(dtype);
    const bits = isPacked ? 32 / this.#perWord(codes, shape) : 8;
    if (bits !== 4 && bits !== 8)
      throw this.#malformed(`its ${name} [${codes.join(',')}] holds no codes of 4 or 8 bits`);
    this.#bits = bits;
    const perWord = isPacked ? 32 / bits : 1;
    const unpacked = codes.map((size, axis) => (axis === codeAxis ? size * perWord : size));
    const [N, K] = inputsFirst ? unpacked.toReversed() : unpacked;
    this.outputs = N;
    this.inputs = K;
    if (N * K > mostWeights || N < 1 || K < 1) throw this.#malformed(`it has ${N} × ${K} weights`);
    if (shape !== undefined && String(shape) !== String([N, K]))
      throw this.#malformed(`its codes are [${N},${K}], not [${shape.join(',')}]`);
    const isFloat = dtype === 'F8_E4M3';
    if (!isFloat && (G < 1 || K % G !== 0)) throw this.#malformed(`${G} groups do not divide ${K} inputs`);
    if (!isFloat && down !== N && String(scaleShape) !== '1,1')
      throw this.#malformed(`it has scales for ${down} of ${N} outputs`);
    const [rows, columns] = quantization.block ?? [];
    this.#block = isFloat ? [this.#blockSize(N, down, rows), this.#blockSize(K, G, columns)] : [1, K / G];
    this.#check('zeros', words, zeroAxis === 0 ? [Math.ceil(N / perWord), G] : [G, N / perWord]);
    this.#check('groups', ['I32'], [K]);
    this.#check('scales', floats, scales);
    this.#check('least', floats, scaleShape);
    if (inputsFirst) this.#info('zeros');
    if (parts.names.least !== undefined) this.#info('least');
    const byteLength = this.tensors.reduce((sum, tensor) => sum + files.info(tensor).byteLength, 0);
    this.info = { dtype: isFloat ? dtype : `${quantization.method}-${bits}`, shape: [N, K], byteLength };
  }

  /** In the model. */
  get name(): string {
    return `${this.#parts.module}.weight`;
  }

  /** Names of its tensors, for its bytes in a fixed order. */
  get tensors(): readonly string[] {
    return Object.values(this.#parts.tensors);
  }

  /** Its weights. @throws LinnetError `TENSOR` for parts that do not fit each other */
  async weights(): Promise<Float32Array> {
    const [N, K, G] = [this.outputs, this.inputs, this.#groups];
    const values = new Float32Array(N * K);
    const { codes, scales, zeros, least, groups } = await this.#numbers();
    const isFloat = this.#type === 'F8_E4M3';
    const table = isFloat ? float8Values() : Float32Array.from(Array(256).keys());
    const middle = isFloat ? 0 : 2 ** (this.#bits - 1);
    const [rows, columns] = this.#block;
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

  /** Its codes for products; undefined for floats, and for groups that no product has. */
  get coded(): CodedMatrix | undefined {
    const size = blockSizes.find((one) => (this.inputs / this.#groups) % one === 0);
    if (size === undefined || this.#type === 'F8_E4M3') return undefined;
    const { tensors, names } = this.#parts;
    const form: CodeForm = {
      bits: this.#bits,
      size,
      minima: names.least !== undefined,
      zeros: tensors.zeros !== undefined,
      ordered: this.#isOrdered,
    };
    return { form, inputs: this.inputs, outputs: this.outputs, pieces: () => this.#codedParts(form) };
  }

  get #isOrdered(): boolean {
    const { names, tensors } = this.#parts;
    return (!names.inputsFirst || this.#quantization.ordered) && tensors.groups !== undefined && this.#groups > 1;
  }

  async *#codedParts(form: CodeForm): AsyncGenerator<CodedParts> {
    const { codes, scales, zeros, least, groups } = await this.#numbers();
    const N = this.outputs;
    const blocks = (N * this.inputs) / form.size;
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

  async #numbers(): Promise<Numbers> {
    const [N, K, G] = [this.outputs, this.inputs, this.#groups];
    const { names, tensors } = this.#parts;
    const { inputsFirst = false } = names;
    const byOutput = <T extends Uint8Array | Float32Array>(values: T, room: T, columns: number): T =>
      inputsFirst ? turned(values, room, columns, N) : values;
    const codes = await this.#codes('codes', names.codeAxis);
    const scales = await this.#floats('scales');
    let zeros: Uint8Array | undefined;
    if (tensors.zeros !== undefined) {
      const stored = (await this.#codes('zeros', names.zeroAxis)).subarray(0, N * G);
      const { zeroShift } = this.#quantization;
      const most = 2 ** this.#bits - 1;
      if (zeroShift > 0 && stored.includes(most)) {
        throw this.#malformed(`a zero point is ${most + 1}, which no code of ${this.#bits} bits has; take its gptq_v2`);
      }
      zeros = byOutput(stored, new Uint8Array(N * G), G).map((zero) => zero + zeroShift);
    }
    return {
      codes: byOutput(codes, new Uint8Array(inputsFirst ? N * K : 0), K),
      scales:
        scales.length === 1 ? new Float32Array(N * G).fill(scales[0]) : byOutput(scales, new Float32Array(N * G), G),
      zeros,
      least: tensors.least === undefined ? undefined : await this.#floats('least'),
      groups: await this.#groupOfInputs(),
    };
  }

  /** The group of every input; undefined where neighbours are one. */
  async #groupOfInputs(): Promise<Int32Array | undefined> {
    const G = this.#groups;
    if (this.#parts.tensors.groups === undefined || G === 1) return undefined;
    const groups = new Int32Array((await this.#bytes('groups')).buffer);
    const size = this.inputs / G;
    const counts = new Uint32Array(G);
    for (const group of groups) if (group >= 0 && group < G) counts[group]++;
    if (!counts.every((count) => count === size)) throw this.#malformed('its groups of inputs are not of one size');
    if (this.#isOrdered) return groups;
    if (groups.every((group, k) => group === Math.floor(k / size))) return undefined;
    throw this.#malformed('inputs of its groups are apart, which desc_act of its configuration denies');
  }

  /** Codes of a part, one a byte. */
  async #codes(part: Part, axis: 0 | 1 = 1): Promise<Uint8Array> {
    const bytes = await this.#bytes(part);
    const { dtype, shape } = this.#info(part);
    if (!words.includes(dtype)) return dtype === 'I8' ? bytes.map((code) => code ^ 128) : bytes;
    const [rows, columns] = shape;
    const { order } = this.#parts.names;
    return unpackedCodes(new Uint32Array(bytes.buffer), { bits: this.#bits, shape: [rows, columns], axis, order });
  }

  /** Outputs or inputs of a scale. @param parts number of scales @param block that the configuration says */
  #blockSize(count: number, parts: number, block = 0): number {
    const size = parts === 1 ? count : parts === count ? 1 : block;
    if (Math.ceil(count / size) === parts) return size;
    throw this.#malformed(`${parts} scales do not fit a side of ${count}`);
  }

  /** Codes of a word, from the sizes of parts. */
  #perWord([, columns]: readonly number[], shape: readonly number[] | undefined): number {
    const { module, tensors } = this.#parts;
    const quantization = this.#quantization;
    const counts: Readonly<Partial<Record<QuantizedMethod, number>>> = {
      'compressed-tensors': shape && Math.round(shape[1] / columns),
      mlx: (quantization.groupOf(module) * this.#groups) / columns,
      gptq: tensors.zeros === undefined ? undefined : columns / this.#info('zeros').shape[1],
      awq: 8,
    };
    return counts[quantization.method] ?? Number.NaN;
  }

  #check(part: Part, types: readonly string[], shape: readonly number[]): void {
    const name = this.#parts.tensors[part];
    if (name === undefined) return;
    const { dtype, shape: stored } = this.#info(part);
    const full = part === 'least' && stored.length === 1 ? [...stored, 1] : stored;
    if (types.includes(dtype) && String(full) === String(shape)) return;
    throw this.#malformed(
      `${quoteName(name)} is ${dtype} [${stored.join(',')}], expected ${types.join(' or ')} [${shape.join(',')}]`,
    );
  }

  #tensor(part: Part): string {
    const { tensors, module, names } = this.#parts;
    const name = tensors[part];
    if (name !== undefined) return name;
    throw this.#malformed(`${quoteName(`${module}.${names[part] ?? part}`)} is missing`);
  }

  #info(part: Part): WeightInfo {
    return this.#files.info(this.#tensor(part));
  }

  async #floats(part: Part): Promise<Float32Array> {
    return (await this.#files.readFloat32(this.#tensor(part))).data;
  }

  async #bytes(part: Part): Promise<Uint8Array<ArrayBuffer>> {
    const all = new Uint8Array(this.#info(part).byteLength);
    let end = 0;
    for await (const chunk of this.#files.chunks(this.#tensor(part))) {
      all.set(chunk, end);
      end += chunk.length;
    }
    return all;
  }

  #malformed(what: string): LinnetError {
    const matrix = `the matrix ${quoteName(this.#parts.module)} is not understood: `;
    return quantizationError(this.#files.path, matrix + what, 'TENSOR');
  }
}
