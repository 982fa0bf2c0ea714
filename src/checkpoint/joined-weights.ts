/** Several weight files as one. */
import { LinnetError } from '../errors.ts';
import type { AnyTensor, FilePlace, Tensor } from '../graph/tensor.ts';
import { quoteName } from '../files/name-list.ts';
import type { CodedMatrix, Float32Rows, WeightFile, WeightInfo } from './weight-file.ts';

/** Open files, read as one and closed together. Throws `NOT_FOUND` for tensors that no file has. */
export class JoinedWeights implements WeightFile {
  /** Absolute path of their folder, or of the file. */
  readonly path: string;
  readonly #files: readonly WeightFile[];
  readonly #holder: ReadonlyMap<string, WeightFile>;

  /** @param isOne whether a name counts as a tensor. Default: all do */
  constructor(path: string, files: readonly WeightFile[], isOne: (name: string) => boolean = () => true) {
    this.path = path;
    this.#files = files;
    this.#holder = new Map(
      files.flatMap((file) =>
        file
          .names()
          .filter(isOne)
          .map((name) => [name, file] as const),
      ),
    );
  }

  /** Changes with any file; see `SafetensorsFile`. */
  get version(): string {
    return this.#files.map(({ version }) => version).join('\n');
  }

  /** Names of all tensors. */
  names(): string[] {
    return [...this.#holder.keys()];
  }

  /** Whether there is a tensor with this name. */
  has(name: string): boolean {
    return this.#holder.has(name);
  }

  /** A tensor's type and shape. @throws LinnetError `NOT_FOUND` */
  info(name: string): WeightInfo {
    return this.#file(name).info(name);
  }

  /** A tensor in its stored type. @throws LinnetError `NOT_FOUND`, or `FORMAT` for types without a host equivalent */
  async read(name: string): Promise<AnyTensor> {
    const file = this.#file(name);
    return file.read?.(name) ?? file.readFloat32(name);
  }

  /** An F64, F32, F16 or BF16 tensor as float32. @throws LinnetError `NOT_FOUND`, or `FORMAT` for other types */
  async readFloat32(name: string): Promise<Tensor<'float32'>> {
    return this.#file(name).readFloat32(name);
  }

  /** The same in pieces, like `SafetensorsFile.float32Rows`. */
  float32Rows(name: string): Float32Rows {
    return this.#file(name).float32Rows(name);
  }

  /** The stored bytes; see `WeightFile`. */
  chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array> {
    return this.#file(name).chunks(name, buffer);
  }

  /** See `WeightFile`. */
  isFinite(name: string, chunk: Uint8Array): boolean {
    return this.#file(name).isFinite(name, chunk);
  }

  /** See `WeightFile`. */
  codes(name: string): CodedMatrix | undefined {
    return this.#file(name).codes?.(name);
  }

  /** See `SafetensorsFile`. @throws LinnetError `NOT_FOUND` */
  place(name: string): FilePlace | undefined {
    return this.#file(name).place?.(name);
  }

  /** Closes all files; closing again does nothing. */
  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #file(name: string): WeightFile {
    const file = this.#holder.get(name);
    if (file !== undefined) return file;
    throw new LinnetError('NOT_FOUND', `${this.path} has no tensor ${quoteName(name)} among its ${this.#holder.size}`);
  }
}
