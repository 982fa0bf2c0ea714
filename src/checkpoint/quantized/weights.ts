/** A quantized folder read as the model that it was made from: its matrices decoded, or in their codes. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { type AnyTensor, type FilePlace, type Tensor, tensor } from '../../graph/tensor.ts';
import { finiteBytes } from '../finite.ts';
import type { CodedMatrix, Float32Rows, WeightFile, WeightInfo } from '../weight-file.ts';
import { type Quantization, quantizationError } from './config.ts';
import { type Holder, isUnusedPart, partsAround, QuantizedMatrix } from './matrix.ts';

/** Most bytes of a `weight_shape`. */
const mostShapeBytes = 64;

/** All files of a quantized folder, which are closed with it. */
export class QuantizedWeights implements WeightFile {
  readonly #files: readonly WeightFile[];
  readonly #holder: Holder;
  readonly #matrices: ReadonlyMap<string, QuantizedMatrix>;
  /** Names of tensors other than parts of matrices. */
  readonly #others: ReadonlySet<string>;
  readonly #doubtful = new Set<string>();

  private constructor(files: readonly WeightFile[], holder: Holder, matrices: ReadonlyMap<string, QuantizedMatrix>) {
    this.#files = files;
    this.#holder = holder;
    this.#matrices = matrices;
    const parts = new Set([...matrices.values()].flatMap(({ tensors }) => tensors));
    this.#others = new Set([...holder.keys()].filter((name) => !parts.has(name) && !isUnusedPart(name)));
  }

  /** @throws LinnetError `TENSOR` for parts of matrices that do not fit each other, `CONFIG` for none at all */
  static async of(
    quantization: Quantization,
    { files, holder }: { readonly files: readonly WeightFile[]; readonly holder: Holder },
    source: string,
  ): Promise<QuantizedWeights> {
    const matrices = new Map<string, QuantizedMatrix>();
    for (const name of holder.keys()) {
      const parts = partsAround(name, quantization, holder);
      if (parts === undefined) continue;
      const shape = await shapeOf(parts.tensors.shape, holder);
      const weight = `${parts.module}.weight`;
      if (matrices.has(weight) || (weight !== name && holder.has(weight))) {
        throw new LinnetError('TENSOR', `${source} holds ${quoteName(weight)} twice`);
      }
      matrices.set(weight, new QuantizedMatrix(parts, quantization, holder, source, shape));
    }
    if (matrices.size === 0) {
      const names = listNames([...holder.keys()].slice(0, 4));
      throw quantizationError(
        source,
        `its configuration says ${quantization.method}, but no matrix has the parts of that (${names}, …)`,
      );
    }
    return new QuantizedWeights(files, holder, matrices);
  }

  get version(): string {
    return this.#files.map(({ version }) => version).join('\n');
  }

  names(): string[] {
    return [...this.#others, ...this.#matrices.keys()];
  }

  info(name: string): WeightInfo {
    return this.#matrices.get(name)?.info ?? this.#file(name).info(name);
  }

  async read(name: string): Promise<AnyTensor> {
    return this.#matrices.has(name) ? this.readFloat32(name) : this.#file(name).read(name);
  }

  async readFloat32(name: string): Promise<Tensor<'float32'>> {
    const matrix = this.#matrices.get(name);
    if (matrix === undefined) return this.#file(name).readFloat32(name);
    return tensor('float32', [matrix.outputs, matrix.inputs], await matrix.weights());
  }

  float32Rows(name: string): Float32Rows {
    const matrix = this.#matrices.get(name);
    if (matrix === undefined) return this.#file(name).float32Rows(name);
    const pieces = async function* (): AsyncGenerator<Float32Array> {
      yield await matrix.weights();
    };
    return { shape: matrix.info.shape, pieces: pieces() };
  }

  place(name: string): FilePlace | undefined {
    return this.#matrices.has(name) ? undefined : this.#file(name).place(name);
  }

  codes(name: string): CodedMatrix | undefined {
    return this.#matrices.get(name)?.coded;
  }

  async *chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array> {
    const tensors = this.#matrices.get(name)?.tensors ?? [name];
    for (const part of tensors) {
      const file = this.#file(part);
      const { dtype } = file.info(part);
      for await (const chunk of file.chunks(part, buffer)) {
        // Whole numbers are finite.
        const isFinite =
          dtype === 'F8_E4M3'
            ? chunk.every((code) => (code & 127) !== 127)
            : isWhole(dtype) || finiteBytes(dtype, chunk);
        if (!isFinite) this.#doubtful.add(name);
        yield chunk;
      }
    }
  }

  isFinite(name: string, chunk: Uint8Array): boolean {
    return this.#matrices.has(name) ? !this.#doubtful.has(name) : this.#file(name).isFinite(name, chunk);
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #file(name: string): WeightFile {
    const file = this.#holder.get(name);
    if (file === undefined) throw new LinnetError('NOT_FOUND', `there is no tensor ${quoteName(name)}`);
    return file;
  }
}

function isWhole(dtype: string): boolean {
  return /^[IU]\d+$/.test(dtype);
}

/** The numbers of a `weight_shape`. */
async function shapeOf(name: string | undefined, holder: Holder): Promise<readonly number[] | undefined> {
  const file = name === undefined ? undefined : holder.get(name);
  if (name === undefined || file === undefined || file.info(name).byteLength > mostShapeBytes) return undefined;
  const { data } = await file.read(name);
  return Array.from(data, Number);
}
