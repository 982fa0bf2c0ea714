/** Comparisons, casts and selection. */
import { defineOp, only, type Op, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { broadcastShapes, formatShape, shapeError } from '../shape.ts';
import { type DType, tensor } from '../tensor.ts';
import { mul, type Operand, sub } from './elementwise.ts';
import { sumTo } from './reduce.ts';

type NoAttributes = Readonly<Record<string, never>>;

const comparisons = { equal: 'Equal', less: 'Less', greater: 'Greater' } as const;

function defineComparison(name: keyof typeof comparisons): Op<NoAttributes> {
  return defineOp<NoAttributes>({
    name,
    infer([a, b]) {
      if (a.dtype !== b.dtype) throw shapeError(name, `operands are ${a} and ${b}; their dtypes must be equal`);
      return [{ dtype: 'bool', shape: broadcastShapes(name, a.shape, b.shape) }];
    },
    lower: directly(comparisons[name]),
    gradient: { notDifferentiable: 'its result is a truth value' },
  });
}

export const equalOp = defineComparison('equal');
export const lessOp = defineComparison('less');
export const greaterOp = defineComparison('greater');

function compare(op: Op<NoAttributes>, a: Value, b: Operand): Value {
  return only(op.apply([a, typeof b === 'number' ? a.graph.scalar(b) : b], {}));
}

/** a = b, as bool. */
export function equal(a: Value, b: Operand): Value {
  return compare(equalOp, a, b);
}

/** a < b, as bool. */
export function less(a: Value, b: Operand): Value {
  return compare(lessOp, a, b);
}

/** a > b, as bool. */
export function greater(a: Value, b: Operand): Value {
  return compare(greaterOp, a, b);
}

/** ONNX's numbers for element types (TensorProto.DataType). */
const onnxTypes: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
};

const floating: readonly DType[] = ['float32', 'float16', 'float64'];

export const castOp = defineOp<{ readonly to: DType }>({
  name: 'cast',
  infer: ([x], { to }) => [{ dtype: to, shape: x.shape }],
  simplify: ([x], { to }) => (x.dtype === to ? x : undefined),
  fold([x], { to }) {
    if (to !== 'float32' || x.dtype === 'float16' || x.dtype === 'int64') return undefined;
    return [tensor('float32', x.shape, Float32Array.from(x.data))];
  },
  lower: directly('Cast', ({ to }) => ({ to: { int: onnxTypes[to] } })),
  // Between floating-point types the gradient is cast back; integers and truth values get none.
  gradient(node, dy) {
    const [x] = node.inputs;
    if (!floating.includes(x.dtype) || !floating.includes(node.outputs[0].dtype)) return [];
    return [cast(dy, x.dtype)];
  },
});

/** x converted to another element type. Truth values become 0 and 1. */
export function cast(x: Value, to: DType): Value {
  return only(castOp.apply([x], { to }));
}

export const whereOp = defineOp<NoAttributes>({
  name: 'where',
  infer([condition, a, b]) {
    if (condition.dtype !== 'bool') throw shapeError('where', `the condition must be bool, got ${condition}`);
    if (a.dtype !== b.dtype) throw shapeError('where', `the choices are ${a} and ${b}; their dtypes must be equal`);
    const shape = broadcastShapes('where', condition.shape, broadcastShapes('where', a.shape, b.shape));
    return [{ dtype: a.dtype, shape }];
  },
  lower: directly('Where'),
  gradient(node, dy) {
    const [condition, a, b] = node.inputs;
    if (a.dtype !== 'float32') return [];
    const chosen = cast(condition, 'float32');
    return [undefined, sumTo(mul(dy, chosen), a.shape), sumTo(mul(dy, sub(1, chosen)), b.shape)];
  },
});

/**
 * a where the condition holds, else b. Slow on CPU (9 to 18 GB/s): multiply by a 0/1 mask or add a bias instead where
 * the masked numbers are finite.
 */
export function where(condition: Value, a: Value, b: Value): Value {
  if (condition.graph !== a.graph)
    throw shapeError('where', `condition ${formatShape(condition.shape)} is of another graph`);
  return only(whereOp.apply([condition, a, b], {}));
}
