/** A checkpoint's view of a weight file in any format. */
import type { AnyTensor, FilePlace, Tensor } from '../graph/tensor.ts';

/** A float32 tensor, in pieces. */
export interface Float32Rows {
  readonly shape: readonly number[];
  readonly pieces: AsyncGenerator<Float32Array>;
}

/** How a matrix is coded. */
export interface CodeForm {
  readonly bits: 4 | 8;
  /** Inputs per scale. */
  readonly size: 16 | 32 | 64 | 128;
  /** Whether weight = code · scale − minimum; otherwise (code − zero) · scale. */
  readonly minima: boolean;
  /** Whether blocks have their own zero points. Default: 2^(bits−1) for all. */
  readonly zeros?: boolean;
  /** Whether inputs are in another order than the model's: `CodedParts.order`. Default: false. */
  readonly ordered?: boolean;
}

/** Codes of a matrix [outputs, inputs], or of some of its rows, in blocks of inputs, row by row. */
export type CodedParts = {
  /** [outputs, blocks, size · bits / 8], the earlier of two codes in a byte's lower half. */
  readonly codes: Uint8Array;
  /** [outputs, blocks]. */
  readonly scales: Float32Array;
  /** [outputs, blocks], for a form with minima. */
  readonly minima?: Float32Array;
  /** Zero points, [outputs, ⌈blocks · bits / 8⌉]; with minima, whole numbers near minimum / scale. */
  readonly zeros?: Uint8Array;
  /** Factors on the mean of a block's inputs, size · (zero · scale − minimum), [outputs, blocks], for a form with minima. */
  readonly rest?: Float32Array;
  /** The model's input for each input of the codes, for an ordered form. */
  readonly order?: Int32Array;
};

/** A matrix kept in its file's codes. */
export interface CodedMatrix {
  readonly form: CodeForm;
  readonly outputs: number;
  readonly inputs: number;
  /**
   * Its rows from first to last; in one piece if their inputs are reordered.
   * @param rows most per piece, which is valid until the next but one is requested. Default: about a mebibyte of the file
   */
  pieces(rows?: number): AsyncIterable<CodedParts>;
}

/** A stored tensor: its type by name, and its shape in the checkpoint. */
export interface WeightInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** One file of tensors, or several as one. Methods as in `SafetensorsFile`. */
export interface WeightFile {
  readonly version: string;
  names(): string[];
  info(name: string): WeightInfo;
  /** Absent: use `readFloat32`. */
  read?(name: string): Promise<AnyTensor>;
  readFloat32(name: string): Promise<Tensor<'float32'>>;
  float32Rows(name: string): Float32Rows;
  /** Absent: engines cannot map the tensors. */
  place?(name: string): FilePlace | undefined;
  /**
   * A tensor's stored bytes in pieces of whole blocks, each valid until the next is requested. @param buffer to use for them
   */
  chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array>;
  /** Whether such a piece is surely finite, judged by its bytes. */
  isFinite(name: string, chunk: Uint8Array): boolean;
  /** A matrix in codes; undefined for other tensors. Absent: files of this format have no codes. */
  codes?(name: string): CodedMatrix | undefined;
  close(): Promise<void>;
}

/** A tensor in one piece. */
export async function* onePiece(read: () => Promise<Tensor<'float32'>>): AsyncGenerator<Float32Array> {
  yield (await read()).data;
}
