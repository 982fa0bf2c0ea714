/** Ops for tests of the engine: one ONNX node each, whatever its type and attributes. */
import { defineOp, type Value, type ValueType } from '../../src/graph/graph.ts';
import { directly } from '../../src/graph/onnx/direct-node.ts';
import type { OnnxAttributes, OnnxDomain } from '../../src/graph/onnx/model.ts';

export interface OnnxOpOptions {
  readonly attributes?: OnnxAttributes;
  readonly domain?: OnnxDomain;
}

/** Applies one ONNX node to values; `outputs` are the types it gives. */
export function onnxOp(
  opType: string,
  inputs: readonly Value[],
  outputs: readonly ValueType[],
  { attributes = {}, domain = '' }: OnnxOpOptions = {},
): readonly Value[] {
  const op = defineOp({
    name: opType,
    infer: () => [...outputs],
    lower: directly(opType, () => attributes, domain),
    gradient: { notDifferentiable: 'made for tests' },
  });
  return op.apply(inputs, { attributes, domain });
}

/** A + B, of the type of A. */
export function sum(a: Value, b: Value): Value {
  return onnxOp('Add', [a, b], [a])[0];
}

/** A[T,n] · B[n,m], float32. */
export function product(a: Value, b: Value): Value {
  return onnxOp('MatMul', [a, b], [{ dtype: 'float32', shape: [a.shape[0], b.shape[1]] }])[0];
}
