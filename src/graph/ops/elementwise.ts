/** Element-wise arithmetic of two operands with broadcasting: add, sub, mul, div, minimum, maximum. */
import { defineOp, type Node, only, type Op, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { broadcastShapes, sameShape, shapeError } from '../shape.ts';
import { type AnyTensor, elementCount, type Tensor, tensor } from '../tensor.ts';
import { cast, greater, less } from './compare.ts';
import { sumTo } from './reduce.ts';
import { neg } from './unary.ts';

type NoAttributes = Readonly<Record<string, never>>;

interface BinaryRule {
  readonly onnx: string;
  compute(a: number, b: number): number;
  /** Gradients of both operands before they are summed to the operands' shapes. */
  gradient(a: Value, b: Value, result: Value, dy: Value): [Value, Value];
  /** The value of `compute(a, neutral)` is a; and, where `commutes`, of `compute(neutral, a)` too. */
  readonly neutral?: number;
  readonly commutes?: boolean;
}

const rules: Readonly<Record<'add' | 'sub' | 'mul' | 'div' | 'minimum' | 'maximum', BinaryRule>> = {
  add: { onnx: 'Add', compute: (a, b) => a + b, gradient: (_a, _b, _y, dy) => [dy, dy], neutral: 0, commutes: true },
  sub: { onnx: 'Sub', compute: (a, b) => a - b, gradient: (_a, _b, _y, dy) => [dy, neg(dy)], neutral: 0 },
  mul: {
    onnx: 'Mul',
    compute: (a, b) => a * b,
    gradient: (a, b, _y, dy) => [mul(dy, b), mul(dy, a)],
    neutral: 1,
    commutes: true,
  },
  div: {
    onnx: 'Div',
    compute: (a, b) => a / b,
    gradient: (_a, b, y, dy) => [div(dy, b), neg(div(mul(dy, y), b))],
    neutral: 1,
  },
  // At ties neither side gets a gradient: ties have measure zero, and this keeps each rule one comparison.
  minimum: {
    onnx: 'Min',
    compute: Math.min,
    gradient: (a, b, _y, dy) => [mul(dy, cast(less(a, b), 'float32')), mul(dy, cast(less(b, a), 'float32'))],
  },
  maximum: {
    onnx: 'Max',
    compute: Math.max,
    gradient: (a, b, _y, dy) => [mul(dy, cast(greater(a, b), 'float32')), mul(dy, cast(greater(b, a), 'float32'))],
  },
};

function defineBinary(name: keyof typeof rules): Op<NoAttributes> {
  const rule = rules[name];
  return defineOp<NoAttributes>({
    name,
    infer([a, b]) {
      if (a.dtype !== b.dtype) throw shapeError(name, `operands are ${a} and ${b}; their dtypes must be equal`);
      return [{ dtype: a.dtype, shape: broadcastShapes(name, a.shape, b.shape) }];
    },
    simplify([a, b]) {
      const shape = broadcastShapes(name, a.shape, b.shape);
      if (isFilledWith(b, rule.neutral) && sameShape(shape, a.shape)) return a;
      if (rule.commutes === true && isFilledWith(a, rule.neutral) && sameShape(shape, b.shape)) return b;
      return undefined;
    },
    fold: ([a, b]) => foldBinary(name, a, b),
    lower: directly(rule.onnx),
    gradient(node: Node, dy) {
      const [a, b] = node.inputs;
      const [da, db] = rule.gradient(a, b, node.outputs[0], dy);
      return [sumTo(da, a.shape), sumTo(db, b.shape)];
    },
  });
}

function isFilledWith(value: Value, neutral: number | undefined): boolean {
  const constant = value.constant;
  if (neutral === undefined || constant === undefined || constant.dtype !== 'float32') return false;
  return constant.data.length <= 1024 && constant.data.length > 0 && constant.data.every((x) => x === neutral);
}

function foldBinary(name: keyof typeof rules, a: AnyTensor, b: AnyTensor): Tensor[] | undefined {
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  const shape = broadcastShapes(name, a.shape, b.shape).map(Number);
  const data = new Float32Array(elementCount(shape));
  const strideA = broadcastStrides(a.shape, shape);
  const strideB = broadcastStrides(b.shape, shape);
  const index = new Array<number>(shape.length).fill(0);
  let offsetA = 0;
  let offsetB = 0;
  for (let i = 0; i < data.length; i++) {
    data[i] = rules[name].compute(a.data[offsetA], b.data[offsetB]);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      offsetA += strideA[axis];
      offsetB += strideB[axis];
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
      offsetA -= strideA[axis] * shape[axis];
      offsetB -= strideB[axis] * shape[axis];
    }
  }
  return [tensor('float32', shape, data)];
}

/** Row-major strides of `shape` seen as `result`: 0 along broadcast axes. */
function broadcastStrides(shape: readonly number[], result: readonly number[]): number[] {
  const strides = new Array<number>(result.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis + result.length - shape.length] = shape[axis] === 1 ? 0 : stride;
    stride *= shape[axis];
  }
  return strides;
}

export const addOp = defineBinary('add');
export const subOp = defineBinary('sub');
export const mulOp = defineBinary('mul');
export const divOp = defineBinary('div');
export const minimumOp = defineBinary('minimum');
export const maximumOp = defineBinary('maximum');

/** A value, or a number that becomes a float32 scalar constant. */
export type Operand = Value | number;

function binary(op: Op<NoAttributes>, a: Operand, b: Operand): Value {
  if (typeof a === 'number') {
    if (typeof b === 'number') throw shapeError(op.definition.name, 'at least one operand must be a value of a graph');
    return only(op.apply([b.graph.scalar(a), b], {}));
  }
  return only(op.apply([a, typeof b === 'number' ? a.graph.scalar(b) : b], {}));
}

/** a + b with broadcasting. */
export function add(a: Operand, b: Operand): Value {
  return binary(addOp, a, b);
}

/** a − b with broadcasting. */
export function sub(a: Operand, b: Operand): Value {
  return binary(subOp, a, b);
}

/** a · b, element by element, with broadcasting. */
export function mul(a: Operand, b: Operand): Value {
  return binary(mulOp, a, b);
}

/** a / b with broadcasting. */
export function div(a: Operand, b: Operand): Value {
  return binary(divOp, a, b);
}

/** The smaller of a and b. */
export function minimum(a: Operand, b: Operand): Value {
  return binary(minimumOp, a, b);
}

/** The larger of a and b. */
export function maximum(a: Operand, b: Operand): Value {
  return binary(maximumOp, a, b);
}

/** The sum of several values; they must have one shape or broadcast. */
export function addAll(values: readonly Value[]): Value {
  return values.reduce((total, value) => add(total, value));
}
