/**
 * A data set as training uses it, for any objective: rows, and the arrays that a batch of them makes. Which
 * arrays there are, the data set says; an objective says which of them it reads.
 */
import { type Tensor, zeros } from '../../graph/tensor.ts';

/** An array that a batch holds for every row. */
export interface RowInput {
  readonly dtype: 'int32' | 'float32';
  /** Of one row; a batch of B rows has [B, …shape]. */
  readonly shape: readonly number[];
}

/** Tokens, or other whole numbers, of a row. */
export function int32Input(...shape: number[]) {
  return { dtype: 'int32', shape } as const;
}

/** Weights, masks and the like of a row. */
export function float32Input(...shape: number[]) {
  return { dtype: 'float32', shape } as const;
}

/** Arrays by the name of the graph input they feed. */
export type RowInputs = Readonly<Record<string, RowInput>>;

/** A row, and in which pass over the data it is seen: a random objective draws anew in every pass. */
export interface RowVisit {
  readonly row: number;
  /** Counted from 0. */
  readonly epoch: number;
}

/** A batch by input name. */
export type BatchTensors = Readonly<Record<string, Tensor>>;

/** A batch of rows that have some arrays. */
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
  /** Tokens a row is counted as, padding included. */
  readonly length: number;
  readonly inputs: RowInputs;
  /** The arrays of some rows. A function of the visits alone, so that a resumed run reads the same rows as an unbroken one. */
  batch(visits: readonly RowVisit[]): B;
}

/** Rows that a resumed run can recognise. */
export interface RowDataset<B extends BatchTensors = BatchTensors> extends RowSource<B> {
  /** SHA-256, in hexadecimal, of everything that training reads of the data set. */
  fingerprint(): string;
}
