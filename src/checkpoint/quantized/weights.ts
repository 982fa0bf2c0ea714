/** A quantized folder read as the model that it was made from: its matrices decoded, or in their codes. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { type Tensor, tensor } from '../../graph/tensor.ts';
import { finiteBytes } from '../finite.ts';
import { JoinedWeights } from '../joined-weights.ts';
import { type CodedMatrix, type Float32Rows, onePiece, type WeightFile, type WeightInfo } from '../weight-file.ts';
import { type Quantization, quantizationError } from './config.ts';
import { isUnusedPart, partsAround, QuantizedMatrix } from './matrix.ts';

/** Most bytes of a `weight_shape`. */
const mostShapeBytes = 64;

/** One matrix, as a file that holds it alone. */
class MatrixFile implements WeightFile {
  readonly version = '';
  readonly #matrix: QuantizedMatrix;
  readonly #files: JoinedWeights;
  #isDoubtful = false;

  constructor(matrix: QuantizedMatrix, files: JoinedWeights) {
    this.#matrix = matrix;
    this.#files = files;
  }

  names(): string[] {
    return [this.#matrix.name];
  }

  info(): WeightInfo {
    return this.#matrix.info;
  }

  async readFloat32(): Promise<Tensor<'float32'>> {
    return tensor('float32', this.info().shape, await this.#matrix.weights());
  }

  float32Rows(): Float32Rows {
    return { shape: this.info().shape, pieces: onePiece(() => this.readFloat32()) };
  }

  codes(): CodedMatrix | undefined {
    return this.#matrix.coded;
  }

  async *chunks(_: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array> {
    for (const part of this.#matrix.tensors) {
      const { dtype } = this.#files.info(part);
      for await (const chunk of this.#files.chunks(part, buffer)) {
        // Whole numbers are finite.
        const isFinite =
          dtype === 'F8_E4M3'
            ? chunk.every((code) => (code & 127) !== 127)
            : isWhole(dtype) || finiteBytes(dtype, chunk);
        if (!isFinite) this.#isDoubtful = true;
        yield chunk;
      }
    }
  }

  isFinite(): boolean {
    return !this.#isDoubtful;
  }

  /** The files that hold its parts are closed by themselves. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * The files of a quantized folder, read as the model that it was made from. Takes them over, and closes them on an error.
 * @throws LinnetError `TENSOR` for parts of matrices that do not fit each other, `CONFIG` for none at all
 */
export async function quantizedFiles(
  quantization: Quantization,
  path: string,
  files: readonly WeightFile[],
): Promise<readonly WeightFile[]> {
  const stored = new JoinedWeights(path, files);
  try {
    const matrices = await matricesOf(quantization, stored);
    const parts = new Set(matrices.flatMap(({ tensors }) => tensors));
    const others = new JoinedWeights(path, files, (name) => !parts.has(name) && !isUnusedPart(name));
    return [others, ...matrices.map((matrix) => new MatrixFile(matrix, stored))];
  } catch (error) {
    await stored.close();
    throw error;
  }
}

async function matricesOf(quantization: Quantization, files: JoinedWeights): Promise<readonly QuantizedMatrix[]> {
  const matrices = new Map<string, QuantizedMatrix>();
  for (const name of files.names()) {
    const parts = partsAround(name, quantization, files);
    if (parts === undefined) continue;
    const matrix = new QuantizedMatrix(parts, quantization, files, await shapeOf(parts.tensors.shape, files));
    const { name: weight } = matrix;
    if (matrices.has(weight) || (weight !== name && files.has(weight))) {
      throw new LinnetError('TENSOR', `${files.path} holds ${quoteName(weight)} twice`);
    }
    matrices.set(weight, matrix);
  }
  if (matrices.size > 0) return [...matrices.values()];
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
