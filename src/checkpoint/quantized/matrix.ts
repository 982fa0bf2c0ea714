/** One matrix of a quantized folder: its parts, checked against each other, as weights and as codes for products. */
import type { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { CodedMatrix, CodedParts, CodeForm, WeightFile, WeightInfo } from '../weight-file.ts';
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

/** Where the tensors of a folder are. */
export type Holder = ReadonlyMap<string, WeightFile>;

/** The parts of a matrix, and their names in the files. */
interface MatrixParts {
  readonly module: string;
  readonly names: PartNames;
  readonly tensors: Readonly<Partial<Record<Part, string>>>;
}

/** The parts of the matrix whose codes a tensor holds; undefined for other tensors. */
export function partsAround(name: string, { method }: Quantization, holder: Holder): MatrixParts | undefined {
  for (const names of partNames[method]) {
    if (!name.endsWith(`.${names.codes}`)) continue;
    const module = name.slice(0, -names.codes.length - 1);
    const scales = `${module}.${names.scales}`;
    if (!holder.has(scales)) continue;
    const tensors: Partial<Record<Part, string>> = {};
    for (const key of partKeys) {
      const tensor = names[key] === undefined ? undefined : `${module}.${names[key]}`;
      if (tensor !== undefined && holder.has(tensor)) tensors[key] = tensor;
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
  /** Like the next two [outputs, groups]. */
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
  readonly #groups: number;
  readonly #type: string;
  readonly #parts: MatrixParts;
  readonly #quantization: Quantization;
  readonly #holder: Holder;
  readonly #source: string;

  /** Checks types and shapes of the parts. @param shape of `weight_shape` @throws LinnetError `TENSOR` */
  constructor(
    parts: MatrixParts,
    quantization: Quantization,
    holder: Holder,
    source: string,
    shape: readonly number[] | undefined,
  ) {
    this.#parts = parts;
    this.#quantization = quantization;
    this.#holder = holder;
    this.#source = source;
    const { names } = parts;
    const codes = this.#infoOf('codes');
    const scales = this.#infoOf('scales');
    if (codes.shape.length !== 2 || scales.shape.length > 2) throw this.#malformed('its parts are no matrices');
    if (!names.types.includes(codes.dtype))
      throw this.#malformed(`its codes are ${codes.dtype}, expected ${names.types.join(' or ')}`);
    this.#type = codes.dtype;
    const [rows, columns] = codes.shape;
    const isPacked = words.includes(codes.dtype);
    const scaleShape = this.#scaleShape;
    this.#groups = names.inputsFirst ? scaleShape[0] : scaleShape[1];
    this.outputs = names.inputsFirst ? scaleShape[1] : rows;
    this.#bits = isPacked ? this.#packedBits(rows, columns, shape) : 8;
    const perWord = isPacked ? 32 / this.#bits : 1;
    this.inputs = names.inputsFirst ? rows * (names.codeAxis === 0 ? perWord : 1) : columns * perWord;
    const [N, K, G] = [this.outputs, this.inputs, this.#groups];
    if (N * K > mostWeights || N < 1 || K < 1) throw this.#malformed(`it has ${N} × ${K} weights`);
    if (shape !== undefined && String(shape) !== String([N, K]))
      throw this.#malformed(`its codes are [${N},${K}], not [${shape.join(',')}]`);
    if (names.inputsFirst && columns * (names.codeAxis === 0 ? 1 : perWord) !== N)
      throw this.#malformed('codes and scales have other numbers of outputs');
    if (codes.dtype !== 'F8_E4M3') {
      if (G < 1 || K % G !== 0) throw this.#malformed(`${G} groups do not divide ${K} inputs`);
      if (!names.inputsFirst && scaleShape[0] !== N && String(scaleShape) !== '1,1')
        throw this.#malformed(`it has scales for ${scaleShape[0]} of ${N} outputs`);
    } else this.#float8Blocks(scaleShape);
    const zeroShape = names.zeroAxis === 0 ? [Math.ceil(N / perWord), G] : [G, N / perWord];
    this.#check('zeros', words, zeroShape);
    this.#check('groups', ['I32'], [K]);
    this.#check('scales', floats, scales.shape);
    this.#check('least', floats, scaleShape);
    if (names.zeros !== undefined && names.inputsFirst === true) this.#infoOf('zeros');
    if (names.least !== undefined) this.#infoOf('least');
    const byteLength = Object.values(parts.tensors).reduce((sum, name) => sum + this.#tensor(name).byteLength, 0);
    const dtype = codes.dtype === 'F8_E4M3' ? codes.dtype : `${quantization.method}-${this.#bits}`;
    this.info = { dtype, shape: [N, K], byteLength };
  }

  /** Names of its tensors, for its bytes in a fixed order. */
  get tensors(): readonly string[] {
    return Object.values(this.#parts.tensors);
  }

  /** Its weights. @throws LinnetError `TENSOR` for parts that do not fit each other */
  async weights(): Promise<Float32Array> {
    const [N, K] = [this.outputs, this.inputs];
    const values = new Float32Array(N * K);
    if (this.#type === 'F8_E4M3') {
      const codes = await this.#bytes('codes');
      const scales = await this.#floats('scales');
      const table = float8Values();
      const [rowsOf, columnsOf, across] = this.#float8Blocks(this.#scaleShape);
      for (let n = 0, i = 0; n < N; n++) {
        const row = Math.floor(n / rowsOf) * across;
        for (let k = 0; k < K; k++, i++) values[i] = table[codes[i]] * scales[row + Math.floor(k / columnsOf)];
      }
      return values;
    }
    const { codes, scales, zeros, least, groups } = await this.#numbers();
    const G = this.#groups;
    const middle = 2 ** (this.#bits - 1);
    for (let n = 0, i = 0; n < N; n++) {
      for (let k = 0; k < K; k++, i++) {
        const at = n * G + (groups === undefined ? Math.floor((k * G) / K) : groups[k]);
        values[i] =
          least === undefined ? (codes[i] - (zeros?.[at] ?? middle)) * scales[at] : codes[i] * scales[at] + least[at];
      }
    }
    return values;
  }

  /** Its codes for products; undefined for floats, and for groups that no product has. */
  get coded(): CodedMatrix | undefined {
    const size = blockSizes.find((one) => (this.inputs / this.#groups) % one === 0);
    if (size === undefined || this.#type === 'F8_E4M3') return undefined;
    const { tensors, names } = this.#parts;
    const minima = names.least !== undefined;
    const form: CodeForm = {
      bits: this.#bits,
      size,
      minima,
      zeros: tensors.zeros !== undefined,
      ordered: this.#isOrdered,
    };
    return { form, inputs: this.inputs, outputs: this.outputs, pieces: () => this.#codedParts(form) };
  }

  get #isOrdered(): boolean {
    const { names, tensors } = this.#parts;
    const said = names.inputsFirst === true ? this.#quantization.ordered : true;
    return said && tensors.groups !== undefined && this.#groups > 1;
  }

  async *#codedParts(form: CodeForm): AsyncGenerator<CodedParts> {
    const { codes, scales, zeros, least, groups } = await this.#numbers();
    const [N, K, G] = [this.outputs, this.inputs, this.#groups];
    const repeats = K / G / form.size;
    const spread = <T extends Float32Array | Uint8Array>(values: T, room: T): T => {
      for (let i = 0; i < room.length; i++) room[i] = values[Math.floor(i / repeats)];
      return room;
    };
    const blocks = N * G * repeats;
    const order = groups && sortedInputs(groups);
    const parts = {
      codes: packedRows(order === undefined ? codes : sortedColumns(codes, order), N, this.#bits),
      scales: spread(scales, new Float32Array(blocks)),
      order,
    };
    if (zeros !== undefined) {
      yield { ...parts, zeros: packedRows(spread(zeros, new Uint8Array(blocks)), N, this.#bits) };
    } else if (least !== undefined) {
      const minima = spread(least, new Float32Array(blocks)).map((value) => -value);
      yield { ...parts, ...wholeZeros({ scales: parts.scales, minima }, N, form), minima };
    } else yield parts;
  }

  async #numbers(): Promise<Numbers> {
    const [N, K, G] = [this.outputs, this.inputs, this.#groups];
    const { names, tensors } = this.#parts;
    const { inputsFirst = false } = names;
    const raw = await this.#bytes('codes');
    const codes = this.#type === 'I8' ? raw.map((code) => code ^ 128) : this.#unpacked(raw, 'codes', names.codeAxis);
    const byOutput = (values: Uint8Array, columns: number): Uint8Array =>
      inputsFirst ? turned(values, new Uint8Array(values.length), columns, N) : values;
    const stored = await this.#floats('scales');
    const scales = inputsFirst ? turned(stored, new Float32Array(stored.length), G, N) : stored;
    let zeros: Uint8Array | undefined;
    if (tensors.zeros !== undefined) {
      const unpacked = this.#unpacked(await this.#bytes('zeros'), 'zeros', names.zeroAxis);
      zeros = byOutput(unpacked.subarray(0, N * G), G);
      const shift = this.#quantization.zeroShift;
      if (shift > 0) {
        const most = 2 ** this.#bits - 1;
        if (zeros.includes(most)) {
          throw this.#malformed(
            `a zero point is ${most + 1}, which no code of ${this.#bits} bits has; take its gptq_v2`,
          );
        }
        zeros = zeros.map((zero) => zero + shift);
      }
    }
    return {
      codes: byOutput(codes, K),
      scales: scales.length === 1 ? new Float32Array(N * G).fill(scales[0]) : scales,
      zeros,
      least: tensors.least === undefined ? undefined : await this.#floats('least'),
      groups: await this.#groupOfInputs(),
    };
  }

  /** The group of every input; undefined where neighbours are one. */
  async #groupOfInputs(): Promise<Int32Array | undefined> {
    if (this.#parts.tensors.groups === undefined || this.#groups === 1) return undefined;
    const { buffer } = await this.#bytes('groups');
    const groups = new Int32Array(buffer);
    const size = this.inputs / this.#groups;
    const counts = new Uint32Array(this.#groups);
    for (const group of groups) if (group >= 0 && group < counts.length) counts[group]++;
    if (!counts.every((count) => count === size)) throw this.#malformed('its groups of inputs are not of one size');
    if (this.#isOrdered) return groups;
    if (groups.every((group, k) => group === Math.floor(k / size))) return undefined;
    throw this.#malformed('inputs of its groups are apart, which desc_act of its configuration denies');
  }

  #unpacked(bytes: Uint8Array, part: Part, axis: 0 | 1 = 1): Uint8Array {
    const [rows, columns] = this.#infoOf(part).shape;
    const { order } = this.#parts.names;
    return unpackedCodes(new Uint32Array(bytes.buffer), { bits: this.#bits, shape: [rows, columns], axis, order });
  }

  get #scaleShape(): readonly number[] {
    const { shape } = this.#infoOf('scales');
    return shape.length === 2 ? shape : [shape[0] ?? 1, 1];
  }

  /** Outputs and inputs of a scale of FP8, and scales of a row. */
  #float8Blocks([down, across]: readonly number[]): readonly [number, number, number] {
    const sizeOf = (count: number, parts: number, block = 0): number => {
      const size = parts === 1 ? count : parts === count ? 1 : block;
      if (Math.ceil(count / size) === parts) return size;
      throw this.#malformed(`its scales [${down},${across}] do not fit [${this.outputs},${this.inputs}]`);
    };
    const [rows, columns] = this.#quantization.block ?? [];
    return [sizeOf(this.outputs, down, rows), sizeOf(this.inputs, across, columns), across];
  }

  /** Bits of a code, from the sizes of parts. */
  #packedBits(rows: number, columns: number, shape: readonly number[] | undefined): 4 | 8 {
    const { names, module } = this.#parts;
    const quantization = this.#quantization;
    const zeros = this.#parts.tensors.zeros;
    const perWord: Readonly<Partial<Record<QuantizedMethod, number | undefined>>> = {
      'compressed-tensors': shape && Math.round(shape[1] / columns),
      mlx: (quantization.groupOf(module) * this.#groups) / columns,
      gptq: zeros === undefined ? undefined : columns / (this.#tensor(zeros).shape[1] ?? 0),
      awq: 8,
    };
    const bits = 32 / (perWord[quantization.method] ?? Number.NaN);
    if (bits === 4 || bits === 8) return bits;
    throw this.#malformed(`its ${names.codes} [${rows},${columns}] holds no codes of 4 or 8 bits`);
  }

  #check(part: Part, types: readonly string[], shape: readonly number[]): void {
    const name = this.#parts.tensors[part];
    if (name === undefined) return;
    const info = this.#tensor(name);
    const own = part === 'least' && info.shape.length === 1 ? [info.shape[0], 1] : info.shape;
    if (types.includes(info.dtype) && String(own) === String(shape)) return;
    throw this.#malformed(
      `${quoteName(name)} is ${info.dtype} [${info.shape.join(',')}], expected ${types.join(' or ')} [${shape.join(',')}]`,
    );
  }

  #tensor(name: string): WeightInfo {
    const file = this.#holder.get(name);
    if (file === undefined) throw this.#malformed(`${quoteName(name)} is missing`);
    return file.info(name);
  }

  #nameOf(part: Part): string {
    return this.#parts.tensors[part] ?? `${this.#parts.module}.${this.#parts.names[part] ?? part}`;
  }

  #infoOf(part: Part): WeightInfo {
    return this.#tensor(this.#nameOf(part));
  }

  async #floats(part: Part): Promise<Float32Array> {
    const name = this.#nameOf(part);
    this.#tensor(name);
    const { data } = (await this.#holder.get(name)?.readFloat32(name)) ?? { data: new Float32Array() };
    return data;
  }

  async #bytes(part: Part): Promise<Uint8Array<ArrayBuffer>> {
    const name = this.#nameOf(part);
    const all = new Uint8Array(this.#tensor(name).byteLength);
    let end = 0;
    for await (const chunk of this.#holder.get(name)?.chunks(name) ?? []) {
      all.set(chunk, end);
      end += chunk.length;
    }
    return all;
  }

  #malformed(what: string): LinnetError {
    const matrix = `the matrix ${quoteName(this.#parts.module)} is not understood: `;
    return quantizationError(this.#source, matrix + what, 'TENSOR');
  }
}
