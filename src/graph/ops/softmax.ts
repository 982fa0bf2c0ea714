/** Softmax and the cross-entropy of logits against labels. */
import { defineOp, only, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { multiplyDims, sameShape, shapeError } from '../shape.ts';
import { tensor } from '../tensor.ts';
import { mul, sub } from './elementwise.ts';
import { scatterAdd } from './indexing.ts';
import { reshape } from './layout.ts';
import { sum } from './reduce.ts';
import { neg } from './unary.ts';

type NoAttributes = Readonly<Record<string, never>>;

export const softmaxOp = defineOp<NoAttributes>({
  name: 'softmax',
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  lower: directly('Softmax', () => ({ axis: { int: -1 } })),
  gradient(node, dy) {
    const [y] = node.outputs;
    return [mul(y, sub(dy, sum(mul(dy, y), [-1], true)))];
  },
});

/** e^x / Σ e^x over the last axis. */
export function softmax(x: Value): Value {
  return only(softmaxOp.apply([x], {}));
}

/** The smallest normal float32: keeps −log p finite where a probability underflows to 0. */
const smallestProbability = 1.1754943508222875e-38;

export const crossEntropyOp = defineOp<NoAttributes>({
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
  lower(emitter, node) {
    const [logits, labels] = node.inputs.map((input) => emitter.name(input));
    const [loss, probabilities] = node.outputs.map((output) => emitter.name(output));
    const lastAxis = emitter.constant(tensor('int64', [1], BigInt64Array.of(-1n)));
    const floor = emitter.constant(tensor('float32', [], Float32Array.of(smallestProbability)));
    const [index, picked, clamped, column, logarithm] = Array.from({ length: 5 }, () => emitter.temporary());
    emitter.emit('Softmax', [logits], [probabilities], { axis: { int: -1 } });
    emitter.emit('Unsqueeze', [labels, lastAxis], [index]);
    emitter.emit('GatherElements', [probabilities, index], [picked], { axis: { int: -1 } });
    emitter.emit('Max', [picked, floor], [clamped]);
    emitter.emit('Log', [clamped], [column]);
    emitter.emit('Squeeze', [column, lastAxis], [logarithm]);
    emitter.emit('Neg', [logarithm], [loss]);
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

/**
 * −log softmax(logits)[label] of every row.
 *
 * @param logits [..., V]
 * @param labels int32 [...], each in [0, V)
 * @returns float32 [...], in nats; at most 87.3, where the probability underflows
 */
export function crossEntropy(logits: Value, labels: Value): Value {
  return crossEntropyOp.apply([logits, labels], {})[0];
}
