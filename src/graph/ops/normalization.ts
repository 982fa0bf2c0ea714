/** RMS norm, layer norm, unit length; softmax, and the cross-entropy of logits against labels. */
import {
  type Emitter,
  type Node,
  type NodeInput,
  type OpFunction,
  type Value,
  type ValueType,
  defineFunction,
  defineOp,
  sameType,
} from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { int64, multiplyDims, sameShape, shapeError, tensor } from '../tensor.ts';
import { sum, sumTo } from './contraction.ts';
import { add, mul, neg, sub } from './elementwise.ts';
import { reshape, split } from './layout.ts';
import { scatterAdd } from './indexing.ts';
import { mean } from './reduce.ts';

type NormAttributes = { readonly epsilon: number };

/** The type of a per-row statistic. */
function rowStatistic(x: Value): ValueType {
  return { dtype: 'float32', shape: [...x.shape.slice(0, -1), 1] };
}

function requireGain(op: string, x: Value, gain: Value): void {
  const width = x.shape[x.rank - 1];
  if (typeof width !== 'number' || !sameShape(gain.shape, [width])) {
    throw shapeError(op, `${x} needs a gain of shape [${width}], got ${gain}`);
  }
}

/** Emits x / √(mean(x²) + ε) · gain as the first output and, for the gradient, 1 / √(mean(x²) + ε) as the second. */
function emitRmsNorm(emitter: Emitter, { inputs: [x], outputs }: Node, gain: NodeInput, epsilon: number): void {
  const [normalized, inverse] = outputs;
  const attributes = { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } };
  // One fused op, twice as fast as the composite.
  if (emitter.device !== 'webgpu') {
    emitter.emit('SimplifiedLayerNormalization', [x, gain], outputs, attributes);
    return;
  }
  // On WebGPU the fused op's second output is wrong (0.19 instead of 1.33), so its parts compute it.
  emitter.emit('SimplifiedLayerNormalization', [x, gain], [normalized], attributes);
  const squares = emitter.step('Mul', [x, x]);
  const meanSquare = emitter.step('ReduceMean', [squares, int64([1], [-1])], { keepdims: { int: 1 } });
  const shifted = emitter.step('Add', [meanSquare, epsilon]);
  emitter.emit('Reciprocal', [emitter.step('Sqrt', [shifted])], [inverse]);
}

export const rmsNormOp = defineOp<NormAttributes>({
  name: 'rmsNorm',
  infer([x, gain]) {
    requireGain('rmsNorm', x, gain);
    return [...sameType([x]), rowStatistic(x)];
  },
  lower: (emitter, node, { epsilon }) => {
    emitRmsNorm(emitter, node, node.inputs[1], epsilon);
  },
  gradient(node, dy) {
    const [x, gain] = node.inputs;
    const inverse = node.outputs[1];
    const unit = mul(x, inverse);
    const scaled = mul(dy, gain);
    const along = mean(mul(scaled, unit), [-1], true);
    return [mul(sub(scaled, mul(unit, along)), inverse), sumTo(mul(dy, unit), gain.shape)];
  },
});

/** x / √(mean(x²) + ε) · gain over the last axis. x [..., D], gain [D]. */
export function rmsNorm(x: Value, gain: Value, epsilon: number): Value {
  return rmsNormOp.first([x, gain], { epsilon });
}

/** ε under `unitLength`'s root, as a mean square: far below any real row, so that it only matters for zeros. */
const unitEpsilon = 1e-24;

/**
 * x / ‖x‖₂ over the last axis. The paper has no ε; a tiny one turns rows of zeros, such as padding, into zeros instead
 * of 0/0. Gradient: (dy − y·⟨y, dy⟩)/‖x‖.
 */
export const unitLength: OpFunction<[x: Value]> = defineFunction({
  name: 'unitLength',
  infer([x]) {
    if (typeof x.shape[x.rank - 1] !== 'number') {
      throw shapeError('unitLength', `the last axis of ${x} must have a static size`);
    }
    return [...sameType([x]), rowStatistic(x)];
  },
  // A part's rows are the whole's rows: parts of one value, such as queries and keys, are normalized together.
  simplify([{ rank, origin }]) {
    if (origin.kind !== 'result' || origin.node.op !== 'split') return undefined;
    const [whole] = origin.node.inputs;
    const axis = Number(origin.node.attributes.axis);
    if (axis === rank - 1) return undefined;
    const sizes = origin.node.outputs.map((part) => Number(part.shape[axis]));
    return split(unitLength(whole), axis, sizes)[origin.index];
  },
  // An RMS norm with gain 1/√D, twice as fast as LpNormalization. The second output is √D/‖x‖.
  lower(emitter, node) {
    const width = Number(node.inputs[0].shape[node.inputs[0].rank - 1]);
    const gain = tensor('float32', [width], new Float32Array(width).fill(1 / Math.sqrt(width)));
    emitRmsNorm(emitter, node, gain, unitEpsilon);
  },
  gradient(node, dy) {
    const [y, inverse] = node.outputs;
    const width = Number(y.shape[y.rank - 1]);
    const along = sum(mul(dy, y), [-1], true);
    return [mul(sub(dy, mul(y, along)), mul(inverse, 1 / Math.sqrt(width)))];
  },
});

export const layerNormOp = defineOp<NormAttributes>({
  name: 'layerNorm',
  infer([x, gain, bias]) {
    requireGain('layerNorm', x, gain);
    requireGain('layerNorm', x, bias);
    return [...sameType([x]), rowStatistic(x), rowStatistic(x)];
  },
  lower: directly('LayerNormalization', ({ epsilon }) => ({
    axis: { int: -1 },
    epsilon: { float: epsilon },
  })),
  gradient(node, dy) {
    const [x, gain, bias] = node.inputs;
    const [, average, inverse] = node.outputs;
    const unit = mul(sub(x, average), inverse);
    const scaled = mul(dy, gain);
    const along = add(mean(scaled, [-1], true), mul(unit, mean(mul(scaled, unit), [-1], true)));
    return [mul(sub(scaled, along), inverse), sumTo(mul(dy, unit), gain.shape), sumTo(dy, bias.shape)];
  },
});

/** (x − mean) / √(variance + ε) · gain + bias over the last axis. x [..., D], gain and bias [D]. */
export function layerNorm(x: Value, gain: Value, bias: Value, epsilon: number): Value {
  return layerNormOp.first([x, gain, bias], { epsilon });
}

/** e^x / Σ e^x over the last axis. */
export const softmax: OpFunction<[x: Value]> = defineFunction({
  name: 'softmax',
  infer: sameType,
  lower: directly('Softmax', () => ({ axis: { int: -1 } })),
  gradient(node, dy) {
    const [y] = node.outputs;
    return [mul(y, sub(dy, sum(mul(dy, y), [-1], true)))];
  },
});

/** The smallest normal float32: keeps −log p finite if a probability underflows to 0. */
const smallestProbability = 1.1754943508222875e-38;

/**
 * −log softmax(logits)[label] of every row.
 *
 * @param logits [..., V]
 * @param labels int32 [...], each in [0, V)
 * @returns float32 [...], in nats; at most 87.3, when the probability underflows
 */
export const crossEntropy: OpFunction<[logits: Value, labels: Value]> = defineFunction({
  name: 'crossEntropy',
  infer([logits, labels]) {
    const rows = logits.shape.slice(0, -1);
    if (labels.dtype !== 'int32' || !sameShape(labels.shape, rows)) {
      throw shapeError(
        'crossEntropy',
        `logits ${logits} need int32 labels of shape [${rows.join(',')}], got ${labels}`,
      );
    }
    return [
      { dtype: 'float32', shape: rows },
      { dtype: 'float32', shape: logits.shape },
    ];
  },
  lower(emitter, { inputs: [logits, labels], outputs: [loss, probabilities] }) {
    const lastAxis = int64([1], [-1]);
    emitter.emit('Softmax', [logits], [probabilities], { axis: { int: -1 } });
    const index = emitter.step('Unsqueeze', [labels, lastAxis]);
    const picked = emitter.step('GatherElements', [probabilities, index], { axis: { int: -1 } });
    const column = emitter.step('Log', [emitter.step('Max', [picked, smallestProbability])]);
    emitter.emit('Neg', [emitter.step('Squeeze', [column, lastAxis])], [loss]);
  },
  // d(−log p_label)/d logits = p − onehot(label), written into p by ScatterElements: OneHot alone takes twice as long.
  gradient(node, dLoss) {
    const [logits, labels] = node.inputs;
    const probabilities = node.outputs[1];
    const vocabulary = logits.shape[logits.rank - 1];
    const rows = multiplyDims(...labels.shape);
    const column = neg(reshape(dLoss, [rows, 1]));
    const scaled = mul(reshape(probabilities, [rows, vocabulary]), reshape(dLoss, [rows, 1]));
    return [reshape(scatterAdd(scaled, reshape(labels, [rows, 1]), column, 1), logits.shape)];
  },
});
