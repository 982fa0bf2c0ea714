/** A checkpoint's view of a file of weights of any format. */
import type { AnyTensor, FilePlace, Tensor } from '../graph/tensor.ts';

/** A tensor in float32, in pieces. */
export interface Float32Rows {
  readonly shape: readonly number[];
  readonly pieces: AsyncGenerator<Float32Array>;
}

/** A tensor as it is stored: its type by name, and its shape in the checkpoint. */
export interface WeightInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** A file of tensors, or several that are one. Methods as in `SafetensorsFile`. */
export interface WeightFile {
  readonly version: string;
  names(): string[];
  info(name: string): WeightInfo;
  read(name: string): Promise<AnyTensor>;
  readFloat32(name: string): Promise<Tensor<'float32'>>;
  float32Rows(name: string): Float32Rows;
  place(name: string): FilePlace | undefined;
  /** The stored bytes of a tensor in pieces of whole blocks, each valid until the next is asked for. @param buffer to use for them */
  chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array>;
  /** Whether such a piece holds finite numbers alone, as far as its bytes tell. */
  isFinite(name: string, chunk: Uint8Array): boolean;
  close(): Promise<void>;
}
