/** A GGUF file's weights under a checkpoint's names and shapes: decoded on demand. */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import {
  bytesPerElement,
  elementCount,
  type FileDType,
  type FilePlace,
  type Tensor,
  tensor,
} from '../../graph/tensor.ts';
import { finiteBytes } from '../finite.ts';
import { turned } from '../quantized/layouts.ts';
import { type CodedMatrix, type Float32Rows, onePiece, type WeightFile, type WeightInfo } from '../weight-file.ts';
import { codedMatrix } from './codes.ts';
import type { ByteSource, ListedTensor } from './header.ts';
import type { TensorRecipe } from './recipes.ts';
import { mebibyte, storedPieces } from './stored-tensors.ts';

/** An open file. */
export interface GgufFile {
  readonly source: ByteSource;
  readonly version: string;
  /** Absent if the bytes are not on disk. */
  readonly place?: Pick<FilePlace, 'folder' | 'file' | 'unchanged'>;
  close(): Promise<void>;
}

/** Types that engines read directly from files. */
const fileTypes: Readonly<Record<string, FileDType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** A model's weights, in one file or several; closing them closes the files. */
export class GgufWeights implements WeightFile {
  readonly #files: readonly GgufFile[];
  readonly #recipes: ReadonlyMap<string, TensorRecipe>;

  constructor(files: readonly GgufFile[], recipes: readonly TensorRecipe[]) {
    this.#files = files;
    this.#recipes = new Map(recipes.map((recipe) => [recipe.name, recipe]));
  }

  get version(): string {
    return this.#files.map(({ version }) => version).join('\n');
  }

  names(): string[] {
    return [...this.#recipes.keys()];
  }

  info(name: string): WeightInfo {
    const { shape, sources } = this.recipe(name);
    const types = [...new Set(sources.map(({ type }) => type.name))];
    return {
      dtype: types.join('+'),
      shape: [...shape],
      byteLength: sources.reduce((sum, one) => sum + one.byteLength, 0),
    };
  }

  /** @throws LinnetError `NOT_FOUND` */
  recipe(name: string): TensorRecipe {
    const recipe = this.#recipes.get(name);
    if (recipe !== undefined) return recipe;
    throw new LinnetError('NOT_FOUND', `${this.#files[0].source.name} has no tensor for ${quoteName(name)}`);
  }

  async readFloat32(name: string): Promise<Tensor<'float32'>> {
    const recipe = this.recipe(name);
    const { sources, shape, values, transposed = false } = recipe;
    const data = new Float32Array(elementCount(shape));
    let end = 0;
    for await (const piece of this.#pieces(sources)) {
      data.set(piece, end);
      end += piece.length;
    }
    const arranged = arrangedRows(recipe, data);
    const result = transposed ? turned(arranged, new Float32Array(data.length), shape[1], shape[0]) : arranged;
    values?.(result);
    return tensor('float32', shape, result);
  }

  float32Rows(name: string): Float32Rows {
    const recipe = this.recipe(name);
    const pieces = isAsStored(recipe) ? this.#pieces(recipe.sources) : onePiece(() => this.readFloat32(name));
    return { shape: [...recipe.shape], pieces };
  }

  place(name: string): FilePlace | undefined {
    const recipe = this.recipe(name);
    const { sources } = recipe;
    const [{ type, offset, source }] = sources;
    const dtype = Object.hasOwn(fileTypes, type.name) ? fileTypes[type.name] : undefined;
    const place = this.#files.find((file) => file.source === source)?.place;
    if (sources.length > 1 || !isAsStored(recipe) || dtype === undefined || place === undefined) return undefined;
    return offset % bytesPerElement[dtype] === 0 ? { ...place, offset, dtype } : undefined;
  }

  codes(name: string): CodedMatrix | undefined {
    return codedMatrix(this.recipe(name));
  }

  async *chunks(name: string, room?: Uint8Array<ArrayBuffer>): AsyncGenerator<Uint8Array> {
    for (const listed of this.recipe(name).sources) {
      const { bytes } = listed.type;
      yield* storedPieces(listed, Math.floor((room?.length ?? 2 * mebibyte) / 2 / bytes) * bytes, room);
    }
  }

  /** Whether all of a tensor's blocks are finite, judged by their scales. */
  isFinite(name: string, chunk: Uint8Array): boolean {
    const { sources, values } = this.recipe(name);
    const [{ type }] = sources;
    if (values !== undefined || sources.some((one) => one.type !== type)) return false;
    const places = type.coder?.halves ?? [];
    if (places.length === 0) return finiteBytes(type.name, chunk);
    const exponent = 0x7c; // all ones in infinities and NaN
    for (let at = 1; at < chunk.length; at += type.bytes) {
      for (const place of places) if ((chunk[at + place] & exponent) === exponent) return false;
    }
    return true;
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  /** A file's tensors in pieces of whole rows; a piece is valid until the next is requested. */
  async *#pieces(sources: readonly ListedTensor[]): AsyncGenerator<Float32Array> {
    for (const listed of sources) {
      const { type, shape, byteLength } = listed;
      const rowBytes = ((shape.at(-1) ?? 1) / type.values) * type.bytes;
      const step = Math.max(1, Math.floor(mebibyte / rowBytes)) * rowBytes;
      const room = new Float32Array((Math.min(step, byteLength) / type.bytes) * type.values);
      for await (const bytes of storedPieces(listed, step)) {
        const values = room.subarray(0, (bytes.length / type.bytes) * type.values);
        type.decode(bytes, values);
        yield values;
      }
    }
  }
}

/** Whether the file has the checkpoint's numbers unchanged. */
function isAsStored({ row, column, transposed, values }: TensorRecipe): boolean {
  return (row ?? column ?? transposed ?? values) === undefined;
}

/** A file's values in the checkpoint's order: [rows, columns]; a single dimension counts as rows. */
function arrangedRows({ shape, row, column }: TensorRecipe, data: Float32Array): Float32Array {
  if (row === undefined && column === undefined) return data;
  const [rows] = shape;
  const width = data.length / rows;
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) {
    const from = (row?.(r) ?? r) * width;
    if (column === undefined) result.set(data.subarray(from, from + width), r * width);
    else {
      for (let c = 0; c < width; c += column.unit) {
        const at = from + column.of(c);
        result.set(data.subarray(at, at + column.unit), r * width + c);
      }
    }
  }
  return result;
}
