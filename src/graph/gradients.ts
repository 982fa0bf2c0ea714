/** Reverse-mode differentiation: the gradient of a graph is more graph. */
import { internalError, LinnetError } from '../errors.ts';
import { liveNodes, type Node, type Value } from './graph.ts';
import { add } from './ops/elementwise.ts';
import { zerosLike } from './ops/layout.ts';
import { sameShape, tensor } from './tensor.ts';

/**
 * Gradients of a scalar with respect to values.
 *
 * @param loss a float32 scalar (shape [] or all ones)
 * @param values inputs, weights or intermediate values of the same graph
 * @returns one value per entry of `values`, of the same shape; zeros if the loss does not depend on it
 * @throws LinnetError `GRAPH` if the loss is not a scalar, or if it depends on a value through an op without a gradient
 * @example
 * ```ts
 * const graph = new Graph('square');
 * const w = graph.input('w', 'float32', [3]);
 * const [dw] = gradients(ops.sum(ops.mul(w, w)), [w]);
 * ```
 */
export function gradients(loss: Value, values: readonly Value[]): Value[] {
  if (loss.dtype !== 'float32' || loss.shape.some((dim) => dim !== 1)) {
    throw new LinnetError('GRAPH', `gradients need a float32 scalar loss, got ${loss}`);
  }
  const seed = tensor('float32', loss.shape.map(Number), Float32Array.of(1));
  return vectorJacobian([loss], [loss.graph.constant(seed)], values);
}

/** Gradients of Σ ⟨outputs, upstream⟩ with respect to values, summed over fan-out: reverse mode. */
export function vectorJacobian(
  outputs: readonly Value[],
  upstream: readonly Value[],
  values: readonly Value[],
): Value[] {
  const nodes = liveNodes(outputs);
  const needed = dependents(nodes, values);
  const total = new Map<Value, Value>();
  const accumulate = (value: Value, gradient: Value): void => {
    if (!sameShape(value.shape, gradient.shape)) {
      throw internalError(`a gradient of ${value} has type ${gradient}`);
    }
    const known = total.get(value);
    total.set(value, known === undefined ? gradient : add(known, gradient));
  };
  outputs.forEach((output, index) => {
    accumulate(output, upstream[index]);
  });
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    if (!node.outputs.some((output) => needed.has(output))) continue;
    const outputGradients = node.outputs.map((output) => total.get(output));
    if (outputGradients.every((gradient) => gradient === undefined)) continue;
    const inputGradients = node.gradient(outputGradients);
    node.inputs.forEach((input, index) => {
      const gradient = inputGradients[index];
      if (gradient !== undefined && needed.has(input)) accumulate(input, gradient);
    });
  }
  return values.map((value) => total.get(value) ?? zerosLike(value));
}

/** The values between `values` and the outputs: only their gradients are worth computing. */
function dependents(nodes: readonly Node[], values: readonly Value[]): Set<Value> {
  const needed = new Set<Value>(values);
  for (const node of nodes) {
    if (node.inputs.some((input) => needed.has(input))) for (const output of node.outputs) needed.add(output);
  }
  return needed;
}
