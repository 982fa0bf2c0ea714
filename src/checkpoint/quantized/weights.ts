/** Reads a quantized folder as its original model: matrices decoded, or as codes. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { type Tensor, tensor } from '../../graph/tensor.ts';
import { finiteBytes } from '../finite.ts';
import { JoinedWeights } from '../joined-weights.ts';
import { onePiece, type WeightFile } from '../weight-file.ts';
import { type Quantization, quantizationError } from './config.ts';
import { isUnusedPart, matrixAround, type QuantizedMatrix } from './matrix.ts';

/** One matrix as a file of its own. Its parts' files are closed separately. */
function matrixFile({ name, info, tensors, coded, weights }: QuantizedMatrix, files: JoinedWeights): WeightFile {
  let isDoubtful = false;
  const readFloat32 = async (): Promise<Tensor<'float32'>> => tensor('float32', info.shape, await weights());
  return {
    version: '',
    names: () => [name],
    info: () => info,
    readFloat32,
    float32Rows: () => ({ shape: info.shape, pieces: onePiece(readFloat32) }),
    codes: () => coded,
    async *chunks(_, buffer) {
      for (const part of tensors) {
        const { dtype } = files.info(part);
        for await (const chunk of files.chunks(part, buffer)) {
          // Whole numbers are finite.
          const isFinite =
            dtype === 'F8_E4M3'
              ? chunk.every((code) => (code & 127) !== 127)
              : isWhole(dtype) || finiteBytes(dtype, chunk);
          if (!isFinite) isDoubtful = true;
          yield chunk;
        }
      }
    },
    isFinite: () => !isDoubtful,
    close: () => Promise.resolve(),
  };
}

/**
 * A quantized folder's files, read as the original model.
 * @throws LinnetError `TENSOR` for matrix parts that do not fit together, `CONFIG` for no matrices at all
 */
export async function quantizedFiles(
  quantization: Quantization,
  path: string,
  files: readonly WeightFile[],
): Promise<readonly WeightFile[]> {
  const stored = new JoinedWeights(path, files);
  const matrices = await matricesOf(quantization, stored);
  const parts = new Set(matrices.flatMap(({ tensors }) => tensors));
  const others = new JoinedWeights(path, files, (name) => !parts.has(name) && !isUnusedPart(name));
  return [others, ...matrices.map((matrix) => matrixFile(matrix, stored))];
}

async function matricesOf(quantization: Quantization, files: JoinedWeights): Promise<readonly QuantizedMatrix[]> {
  const matrices = new Map<string, QuantizedMatrix>();
  for (const name of files.names()) {
    const matrix = await matrixAround(name, quantization, files);
    if (matrix === undefined) continue;
    const { name: weight } = matrix;
    if (matrices.has(weight) || (weight !== name && files.has(weight))) {
      throw new LinnetError('TENSOR', `${files.path} holds ${quoteName(weight)} twice`);
    }
    matrices.set(weight, matrix);
  }
  if (matrices.size > 0) return [...matrices.values()];
  const names = listNames(files.names().slice(0, 4));
  const what = `its configuration says ${quantization.method}, but no matrix has its parts (${names}, …)`;
  throw quantizationError(files.path, what);
}

function isWhole(dtype: string): boolean {
  return /^[IU]\d+$/.test(dtype);
}
