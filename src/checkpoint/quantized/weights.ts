/** A quantized folder read as the model that it was made from: its matrices decoded, or in their codes. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { type AnyTensor, type FilePlace, type Tensor, tensor } from '../../graph/tensor.ts';
import { finiteBytes } from '../finite.ts';
import { JoinedWeights } from '../joined-weights.ts';
import type { CodedMatrix, Float32Rows, WeightInfo } from '../weight-file.ts';
import { type Quantization, quantizationError } from './config.ts';
import { isUnusedPart, partsAround, QuantizedMatrix } from './matrix.ts';

/** Most bytes of a `weight_shape`. */
const mostShapeBytes = 64;

/** All files of a quantized folder, which are closed with it. */
export class QuantizedWeights extends JoinedWeights {
  readonly #matrices: ReadonlyMap<string, QuantizedMatrix>;
  readonly #doubtful = new Set<string>();

  private constructor(files: JoinedWeights, matrices: ReadonlyMap<string, QuantizedMatrix>) {
    super(files.path, [files]);
    this.#matrices = matrices;
  }

  /**
   * Takes the files over, and closes them on an error.
   * @throws LinnetError `TENSOR` for parts of matrices that do not fit each other, `CONFIG` for none at all
   */
  static async of(quantization: Quantization, files: JoinedWeights): Promise<QuantizedWeights> {
    try {
      return new QuantizedWeights(files, await matricesOf(quantization, files));
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  override names(): string[] {
    const parts = new Set([...this.#matrices.values()].flatMap(({ tensors }) => tensors));
    const others = super.names().filter((name) => !parts.has(name) && !isUnusedPart(name));
    return [...others, ...this.#matrices.keys()];
  }

  override info(name: string): WeightInfo {
    return this.#matrices.get(name)?.info ?? super.info(name);
  }

  override async read(name: string): Promise<AnyTensor> {
    return this.#matrices.has(name) ? this.readFloat32(name) : super.read(name);
  }

  override async readFloat32(name: string): Promise<Tensor<'float32'>> {
    const matrix = this.#matrices.get(name);
    if (matrix === undefined) return super.readFloat32(name);
    return tensor('float32', [matrix.outputs, matrix.inputs], await matrix.weights());
  }

  override float32Rows(name: string): Float32Rows {
    const matrix = this.#matrices.get(name);
    if (matrix === undefined) return super.float32Rows(name);
    const pieces = async function* (): AsyncGenerator<Float32Array> {
      yield await matrix.weights();
    };
    return { shape: matrix.info.shape, pieces: pieces() };
  }

  override place(name: string): FilePlace | undefined {
    return this.#matrices.has(name) ? undefined : super.place(name);
  }

  override codes(name: string): CodedMatrix | undefined {
    return this.#matrices.get(name)?.coded;
  }

  override async *chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array> {
    for (const part of this.#matrices.get(name)?.tensors ?? [name]) {
      const { dtype } = super.info(part);
      for await (const chunk of super.chunks(part, buffer)) {
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

  override isFinite(name: string, chunk: Uint8Array): boolean {
    return this.#matrices.has(name) ? !this.#doubtful.has(name) : super.isFinite(name, chunk);
  }
}

async function matricesOf(
  quantization: Quantization,
  files: JoinedWeights,
): Promise<ReadonlyMap<string, QuantizedMatrix>> {
  const matrices = new Map<string, QuantizedMatrix>();
  for (const name of files.names()) {
    const parts = partsAround(name, quantization, files);
    if (parts === undefined) continue;
    const weight = `${parts.module}.weight`;
    if (matrices.has(weight) || (weight !== name && files.has(weight))) {
      throw new LinnetError('TENSOR', `${files.path} holds ${quoteName(weight)} twice`);
    }
    const shape = await shapeOf(parts.tensors.shape, files);
    matrices.set(weight, new QuantizedMatrix(parts, quantization, files, shape));
  }
  if (matrices.size > 0) return matrices;
  const names = listNames(files.names().slice(0, 4));
  const what = `its configuration says ${quantization.method}, but no matrix has the parts of that (${names}, …)`;
  throw quantizationError(files.path, what);
}

function isWhole(dtype: string): boolean {
  return /^[IU]\d+$/.test(dtype);
}

/** The numbers of a `weight_shape`. */
async function shapeOf(name: string | undefined, files: JoinedWeights): Promise<readonly number[] | undefined> {
  if (name === undefined || files.info(name).byteLength > mostShapeBytes) return undefined;
  const { data } = await files.read(name);
  return Array.from(data, Number);
}
