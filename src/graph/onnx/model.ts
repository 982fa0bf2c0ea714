/** An ONNX model as plain data: the result of lowering and the input of the writer. */
import type { DType, DeferredTensor, FileDType, FilePlace, Shape, Tensor } from '../tensor.ts';

/** Operator sets of nodes: the standard, and ONNX Runtime's contributed ops. */
export type OnnxDomain = '' | 'com.microsoft';

/** A node attribute. ONNX tells integers from floats by type, so the kind is explicit. */
export type OnnxAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] };

export type OnnxAttributes = Readonly<Record<string, OnnxAttribute>>;

export interface OnnxNode {
  readonly opType: string;
  readonly domain: OnnxDomain;
  /** '' marks an omitted optional input. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: OnnxAttributes;
}

/** ONNX's numbers for element types (TensorProto.DataType). */
export const elementTypes: Readonly<Record<FileDType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
};

/** Element type and shape of a value. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface OnnxValue extends ValueType {
  readonly name: string;
}

export interface OnnxGraph {
  readonly name: string;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers: readonly { readonly name: string; readonly tensor: Tensor }[];
  /** Initializers whose elements do not exist yet: see `loadDeferred`. */
  readonly deferred?: readonly { readonly name: string; readonly tensor: DeferredTensor }[];
  /** Initializers that stay in their files: see `mapInitializers`. */
  readonly mapped?: readonly { readonly name: string; readonly shape: readonly number[]; readonly place: FilePlace }[];
  readonly nodes: readonly OnnxNode[];
}

/** Where a graph will run. */
export type Device = 'cpu' | 'cuda' | 'webgpu' | 'wasm';
