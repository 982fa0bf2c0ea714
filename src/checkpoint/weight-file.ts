/** A checkpoint's view of a file of weights of any format. */
import type { AnyTensor, FilePlace, Tensor } from '../graph/tensor.ts';

/** A tensor in float32, in pieces. */
export interface Float32Rows {
  readonly shape: readonly number[];
  readonly pieces: AsyncGenerator<Float32Array>;
}

/** The form of a matrix in codes. */
export interface CodeForm {
  readonly bits: 4 | 8;
  /** Inputs of a scale. */
  readonly size: 16 | 32 | 64 | 128;
  /** Whether weight = code · scale − minimum; else (code − zero) · scale. */
  readonly minima: boolean;
  /** Whether blocks have zero points of their own. Default: 2^(bits−1) for all. */
  readonly zeros?: boolean;
  /** Whether inputs are in another order than in the model: `CodedParts.order`. Default: false. */
  readonly ordered?: boolean;
}

/** Codes of a matrix [outputs, inputs], or of some of its rows, in blocks of inputs, row by row. */
export type CodedParts = {
  /** [outputs, blocks, size · bits / 8], the earlier of two codes in the lower half of a byte. */
  readonly codes: Uint8Array;
  /** [outputs, blocks]. */
  readonly scales: Float32Array;
  /** [outputs, blocks], of a form with minima. */
  readonly minima?: Float32Array;
  /** Zero points, [outputs, ⌈blocks · bits / 8⌉]; where there are minima, whole numbers near minimum / scale. */
  readonly zeros?: Uint8Array;
  /** Factors of the mean of a block's inputs, size · (zero · scale − minimum), [outputs, blocks], of a form with minima. */
  readonly rest?: Float32Array;
  /** The input of the model that each input of the codes is, of a form that is ordered. */
  readonly order?: Int32Array;
};

/** A matrix that stays in the codes of its file. */
export interface CodedMatrix {
  readonly form: CodeForm;
  readonly outputs: number;
  readonly inputs: number;
  /**
   * Its rows from first to last; all in one piece where their inputs are in another order.
   * @param rows most of a piece, which is valid until the next but one is asked for. Default: about a mebibyte of the file
   */
  pieces(rows?: number): AsyncIterable<CodedParts>;
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
  /** Absent: as `readFloat32`. */
  read?(name: string): Promise<AnyTensor>;
  readFloat32(name: string): Promise<Tensor<'float32'>>;
  float32Rows(name: string): Float32Rows;
  /** Absent: engines cannot map the tensors. */
  place?(name: string): FilePlace | undefined;
  /** The stored bytes of a tensor in pieces of whole blocks, each valid until the next is asked for. @param buffer to use for them */
  chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array>;
  /** Whether such a piece holds finite numbers alone, as far as its bytes tell. */
  isFinite(name: string, chunk: Uint8Array): boolean;
  /** A matrix in codes; undefined for other tensors. Absent: no file of this format has codes. */
  codes?(name: string): CodedMatrix | undefined;
  close(): Promise<void>;
}

/** A tensor in one piece. */
export async function* onePiece(read: () => Promise<Tensor<'float32'>>): AsyncGenerator<Float32Array> {
  yield (await read()).data;
}
