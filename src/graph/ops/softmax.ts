/** Softmax and the cross-entropy of logits against labels. */
import { defineFunction, sameType, type OpFunction, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { multiplyDims, sameShape, shapeError } from '../shape.ts';
import { sum } from './contraction.ts';
import { mul, neg, sub } from './elementwise.ts';
import { float32, int64 } from '../tensor.ts';
import { scatterAdd } from './indexing.ts';
import { reshape } from './layout.ts';

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

/** The smallest normal float32: keeps −log p finite where a probability underflows to 0. */
const smallestProbability = 1.1754943508222875e-38;

/**
 * −log softmax(logits)[label] of every row.
 *
 * @param logits [..., V]
 * @param labels int32 [...], each in [0, V)
 * @returns float32 [...], in nats; at most 87.3, where the probability underflows
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
    const column = emitter.step('Log', [emitter.step('Max', [picked, float32([], [smallestProbability])])]);
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
