/**
 * A data set as any objective trains on it: rows, and the arrays that a batch of them makes. The data set defines the arrays;
 * an objective declares which it reads.
 */
import { type Tensor, zeros } from '../../graph/tensor.ts';

/** An array with an entry for each row of a batch. */
export interface RowInput {
  readonly dtype: 'int32' | 'float32';
  /** Shape per row; a batch of B rows has [B, …shape]. */
  readonly shape: readonly number[];
}

/** A row's tokens or other whole numbers. */
export function int32Input(...shape: number[]) {
  return { dtype: 'int32', shape } as const;
}

/** A row's weights, masks and the like. */
export function float32Input(...shape: number[]) {
  return { dtype: 'float32', shape } as const;
}

/** Arrays by the graph input they feed. */
export type RowInputs = Readonly<Record<string, RowInput>>;

/** A row and the pass over the data that reads it: a random objective draws anew each pass. */
export interface RowVisit {
  readonly row: number;
  /** Counted from 0. */
  readonly epoch: number;
}

/** A batch, by input name. */
export type BatchTensors = Readonly<Record<string, Tensor>>;

/** A batch of rows with these arrays. */
export type BatchOf<Inputs extends RowInputs> = { readonly [Name in keyof Inputs]: Tensor<Inputs[Name]['dtype']> };

/** A batch of zeros. */
export function emptyBatch<Inputs extends RowInputs>(inputs: Inputs, rows: number): BatchOf<Inputs>;
export function emptyBatch(inputs: RowInputs, rows: number): BatchTensors {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => [name, zeros(dtype, [rows, ...shape])]),
  );
}

/** Rows of one length: all that a training loop reads. */
export interface RowSource<B extends BatchTensors = BatchTensors> {
  /** Number of rows. */
  readonly rows: number;
  /** Tokens counted per row, padding included. */
  readonly length: number;
  readonly inputs: RowInputs;
  /** The arrays of some rows. Depends only on the visits, so that a resumed run reads the same rows as an unbroken one. */
  batch(visits: readonly RowVisit[]): B;
}

/** Rows that a resumed run can recognise. */
export interface RowDataset<B extends BatchTensors = BatchTensors> extends RowSource<B> {
  /** SHA-256 in hex of everything training reads from the data set. */
  fingerprint(): string;
}
