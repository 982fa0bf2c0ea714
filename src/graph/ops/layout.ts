/** Ops that move numbers unchanged: reshape, transpose, concat, split, slice, pad. */
import { defineOp, type Emitter, type Node, type NodeInput, type Value, type ValueType } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import type { OnnxAttributes } from '../onnx/model.ts';
import {
  type AnyTensor,
  type Dim,
  type Shape,
  type Tensor,
  addDims,
  allocate,
  dimWithout,
  elementCount,
  formatShape,
  int64,
  multiplyDims,
  normalizeAxis,
  sameShape,
  shapeError,
  staticShape,
  tensor,
  zeros,
} from '../tensor.ts';

const integers = (values: readonly number[]): Tensor => int64([values.length], values);

export const reshapeOp = defineOp<{ readonly shape: Shape }>({
  name: 'reshape',
  infer([x], { shape }) {
    if (multiplyDims(...x.shape) !== multiplyDims(...shape)) {
      throw shapeError('reshape', `${x} cannot become ${formatShape(shape)}: the element counts differ`);
    }
    return [{ dtype: x.dtype, shape }];
  },
  simplify([x], { shape }) {
    if (sameShape(x.shape, shape)) return x;
    const { origin } = x;
    if (origin.kind !== 'result' || origin.node.op !== 'reshape') return undefined;
    // A reshape of a reshape is one reshape or none; with named dimensions, one might move more of them than the two do.
    const [before] = origin.node.inputs;
    const expressible = sameShape(before.shape, shape) || reshapeSizes(before.shape, shape) !== undefined;
    return expressible ? reshape(before, shape) : undefined;
  },
  fold([x], { shape }) {
    const sizes = staticShape(shape);
    return sizes && [{ ...x, shape: sizes }];
  },
  lower(emitter, node, { shape }) {
    const [x] = node.inputs;
    const sizes = reshapeSizes(x.shape, shape);
    if (sizes !== undefined) emitter.emit('Reshape', [x, integers(sizes)], node.outputs);
    else emitUnitAxes(emitter, node, shape);
  },
  gradient: (node, dy) => [reshape(dy, node.inputs[0].shape)],
});

/** Sizes for ONNX: 0 copies the input's dimension, one −1 is inferred. Undefined if more than one would have to be. */
function reshapeSizes(from: Shape, to: Shape): number[] | undefined {
  const sizes = to.map((dim, axis) => (typeof dim === 'number' ? dim : from[axis] === dim ? 0 : -1));
  return sizes.filter((size) => size === -1).length > 1 ? undefined : sizes;
}

/** Adds and removes axes of size 1; any number of named dimensions may move past them. */
function emitUnitAxes(emitter: Emitter, { inputs: [x], outputs }: Node, shape: Shape): void {
  const unitAxes = (dims: Shape): number[] => dims.flatMap((dim, axis) => (dim === 1 ? [axis] : []));
  const rest = (dims: Shape): Dim[] => dims.filter((dim) => dim !== 1);
  if (!sameShape(rest(x.shape), rest(shape))) {
    throw shapeError('reshape', `${x} to ${formatShape(shape)}: more than one named dimension moves`);
  }
  const removed = unitAxes(x.shape);
  const added = unitAxes(shape);
  let current: NodeInput = x;
  // Without axes, Squeeze would remove named dimensions that are 1 at run time.
  if (removed.length > 0) {
    const inputs = [current, integers(removed)];
    if (added.length === 0) emitter.emit('Squeeze', inputs, outputs);
    else current = emitter.step('Squeeze', inputs);
  }
  if (added.length > 0) emitter.emit('Unsqueeze', [current, integers(added)], outputs);
}

/**
 * The same numbers in row-major order in another shape. At most one named dimension may move to another axis, unless only
 * axes of size 1 are added or removed.
 */
export function reshape(x: Value, shape: Shape): Value {
  return reshapeOp.first([x], { shape: [...shape] });
}

export const transposeOp = defineOp<{ readonly permutation: readonly number[] }>({
  name: 'transpose',
  infer([x], { permutation }) {
    const sorted = [...permutation].sort((a, b) => a - b);
    if (sorted.length !== x.rank || sorted.some((axis, index) => axis !== index)) {
      throw shapeError('transpose', `[${permutation.join(',')}] is not a permutation of the axes of ${x}`);
    }
    return [{ dtype: x.dtype, shape: permutation.map((axis) => x.shape[axis]) }];
  },
  simplify([x], { permutation }) {
    // Axes of size 1 have no place in memory: moving only them is a free reshape.
    const moving = permutation.filter((axis) => x.shape[axis] !== 1);
    const inOrder = moving.every((axis, index) => index === 0 || moving[index - 1] < axis);
    const shape = permutation.map((axis) => x.shape[axis]);
    if (inOrder) return reshape(x, shape);
    // Two transposes that undo each other.
    const { origin } = x;
    const first = origin.kind === 'result' && origin.node.op === 'transpose' ? origin.node.attributes.permutation : [];
    const isUndone = Array.isArray(first) && permutation.every((axis, index) => first[axis] === index);
    return isUndone && origin.kind === 'result' ? origin.node.inputs[0] : undefined;
  },
  fold: ([x], { permutation }) => [transposeTensor(x, permutation)],
  lower: directly('Transpose', ({ permutation }) => ({ perm: { ints: permutation } })),
  gradient(_node, dy, { permutation }) {
    const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
    return [transpose(dy, inverse)];
  },
});

function transposeTensor(x: AnyTensor, permutation: readonly number[]): Tensor {
  const strides = rowStrides(x.shape);
  const shape = permutation.map((axis) => x.shape[axis]);
  const moved = permutation.map((axis) => strides[axis]);
  const data = allocate(x.dtype, x.data.length);
  for (const [i, offset] of stridedOffsets(shape, moved).entries()) data[i] = x.data[offset];
  return tensor(x.dtype, shape, data);
}

/** Distances between neighbors along each axis, in elements. */
export function rowStrides(shape: readonly number[]): number[] {
  return shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
}

/** Row-major offsets of this shape's elements in an array with these strides. */
export function stridedOffsets(shape: readonly number[], strides: readonly number[]): Float64Array {
  const offsets = new Float64Array(elementCount(shape));
  const index = new Array<number>(shape.length).fill(0);
  let offset = 0;
  for (let i = 0; i < offsets.length; i++) {
    offsets[i] = offset;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      offset += strides[axis];
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
      offset -= strides[axis] * shape[axis];
    }
  }
  return offsets;
}

/** Axes reordered: result axis i is x's axis `permutation[i]`. Keep the last axis last where possible: it is 3–5 times faster. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  return transposeOp.first([x], { permutation: [...permutation] });
}

export const concatOp = defineOp<{ readonly axis: number }>({
  name: 'concat',
  infer(inputs, { axis }) {
    const [first] = inputs;
    for (const value of inputs) {
      const fits = value.rank === first.rank && value.shape.every((dim, i) => i === axis || dim === first.shape[i]);
      if (!fits || value.dtype !== first.dtype) {
        throw shapeError('concat', `${value} does not continue ${first} along axis ${axis}`);
      }
    }
    const total = addDims(...inputs.map((value) => value.shape[axis]));
    return [resized(first, axis, total)];
  },
  simplify(inputs, { axis }) {
    const [first] = inputs;
    if (inputs.length === 1) return first;
    // Undoes a split.
    if (first.origin.kind !== 'result') return undefined;
    const { node } = first.origin;
    const isWhole = node.op === 'split' && node.attributes.axis === axis && node.outputs.length === inputs.length;
    return isWhole && inputs.every((part, i) => part === node.outputs[i]) ? node.inputs[0] : undefined;
  },
  lower: directly('Concat', axisAttribute),
  gradient(node, dy, { axis }) {
    return split(
      dy,
      axis,
      node.inputs.map((input) => staticSize('concat', input, axis)),
    );
  },
});

export function axisAttribute({ axis }: { readonly axis: number }): OnnxAttributes {
  return { axis: { int: axis } };
}

/** x's type with another size of an axis. */
function resized({ dtype, shape }: Value, axis: number, size: Dim): ValueType {
  return { dtype, shape: shape.with(axis, size) };
}

/** Values joined along an axis. */
export function concat(values: readonly Value[], axis: number): Value {
  const [first] = values;
  if (first === undefined) throw shapeError('concat', 'needs at least one value');
  return concatOp.first(values, { axis: normalizeAxis('concat', axis, first.rank) });
}

function staticSize(op: string, x: Value, axis: number): number {
  const size = x.shape[axis];
  if (typeof size !== 'number') throw shapeError(op, `axis ${axis} of ${x} must have a static size`);
  return size;
}

export const splitOp = defineOp<{ readonly axis: number; readonly sizes: readonly number[] }>({
  name: 'split',
  infer([x], { axis, sizes }) {
    const total = sizes.reduce((a, b) => a + b, 0);
    if (total !== x.shape[axis]) {
      throw shapeError('split', `sizes ${sizes.join(' + ')} do not add up to axis ${axis} of ${x}`);
    }
    return sizes.map((size) => resized(x, axis, size));
  },
  simplify: ([x], { sizes }) => (sizes.length === 1 ? x : undefined),
  lower(emitter, { inputs: [x], outputs }, { axis, sizes }) {
    emitter.emit('Split', [x, integers(sizes)], outputs, { axis: { int: axis } });
  },
  gradient: {
    ofEach(node, outputGradients, { axis }) {
      const parts = node.outputs.map((output, index) => outputGradients[index] ?? zerosLike(output));
      return [concat(parts, axis)];
    },
  },
});

/** Cuts x along an axis of static size into parts of the given sizes; splitting a concat returns its inputs. */
export function split(x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  const { origin } = x;
  if (origin.kind === 'result' && origin.node.op === 'concat' && origin.node.attributes.axis === axis) {
    const { inputs } = origin.node;
    if (inputs.length === sizes.length && inputs.every(({ shape }, i) => shape[axis] === sizes[i])) return inputs;
  }
  return splitOp.apply([x], { axis: normalizeAxis('split', axis, x.rank), sizes: [...sizes] });
}

/** Zeros of x's type, whose shape must be static: the gradient of a value without influence. */
export function zerosLike(x: Value): Value {
  const sizes = staticShape(x.shape);
  if (sizes === undefined)
    throw shapeError('zerosLike', `${x} has named dimensions; its gradient needs a static shape`);
  return x.graph.constant(zeros(x.dtype, sizes));
}

type SliceAttributes = {
  readonly axis: number;
  readonly start: number;
  /** Absent: the end of the axis. */
  readonly end?: number;
};

export const sliceOp = defineOp<SliceAttributes>({
  name: 'slice',
  infer([x], { axis, start, end }) {
    const size = x.shape[axis];
    const rest = dimWithout(size, start);
    const isInside = end === undefined || (start <= end && dimWithout(size, end) !== undefined);
    if (!(start >= 0 && rest !== undefined && isInside)) {
      throw shapeError('slice', `range ${start}…${end ?? ''} is outside axis ${axis} of ${x}`);
    }
    return [resized(x, axis, end === undefined ? rest : end - start)];
  },
  simplify: ([x], { axis, start, end }) => (start === 0 && (end ?? x.shape[axis]) === x.shape[axis] ? x : undefined),
  lower(emitter, { inputs: [x], outputs }, { axis, start, end = beyondEveryAxis }) {
    emitter.emit('Slice', [x, ...[start, end, axis].map((bound) => integers([bound]))], outputs);
  },
  gradient(node, dy, { axis, start, end }) {
    const size = staticSize('slice', node.inputs[0], axis);
    return [pad(dy, axis, start, size - (end ?? size))];
  },
});

/** An end that ONNX clips to the axis's size. */
const beyondEveryAxis = 2 ** 31 - 1;

/**
 * Elements start…end−1 along an axis; `end` defaults to the axis's end. A named axis must be that long for certain: "T+4"
 * has 4.
 */
export function slice(x: Value, axis: number, start: number, end?: number): Value {
  return sliceOp.first([x], { axis: normalizeAxis('slice', axis, x.rank), start, end });
}

type PadAttributes = { readonly axis: number; readonly before: number; readonly after: number; readonly value: number };

export const padOp = defineOp<PadAttributes>({
  name: 'pad',
  infer([x], { axis, before, after }) {
    if (before < 0 || after < 0) throw shapeError('pad', `cannot pad ${x} by ${before} and ${after}`);
    return [resized(x, axis, addDims(x.shape[axis], before + after))];
  },
  simplify: ([x], { before, after }) => (before === 0 && after === 0 ? x : undefined),
  lower(emitter, { inputs: [x], outputs }, { axis, before, after, value }) {
    const amounts = [before, after].flatMap((amount) => x.shape.map((_, i) => (i === axis ? amount : 0)));
    emitter.emit('Pad', [x, integers(amounts), ...(value === 0 ? [] : [value])], outputs);
  },
  gradient(node, dy, { axis, before }) {
    return [slice(dy, axis, before, before + staticSize('pad', node.inputs[0], axis))];
  },
});

/** Pads x with `value` (default 0; others only for float32) before and after it along an axis. */
export function pad(x: Value, axis: number, before: number, after: number, value = 0): Value {
  return padOp.first([x], { axis: normalizeAxis('pad', axis, x.rank), before, after, value });
}
