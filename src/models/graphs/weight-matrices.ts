/**
 * Which matrices a model multiplies activations with, found by describing the model to a source that records them: so no
 * table has to repeat the families' layouts.
 */
import { Graph, type Value } from '../../graph/graph.ts';
import { float32, zeros } from '../../graph/tensor.ts';
import type { ParameterSource, WeightMatrix } from '../../nn/parameters.ts';
import type { Model } from '../families/index.ts';
import { wholeHidden } from './parallel-graph.ts';

/** Tokens in the described text: any number will do. */
const length = 2;

/** A model backbone's matrices by name, without heads and token tables, even tied ones. */
export function weightMatrices(model: Model): ReadonlyMap<string, WeightMatrix> {
  const graph = new Graph('weight matrices');
  const matrices = new Map<string, WeightMatrix>();
  const tables = new Set<string>();
  const inputs = new Map<string, Value>();
  const source: ParameterSource = {
    graph,
    parameter(name, shape) {
      const value = inputs.get(name) ?? graph.input(name, 'float32', shape);
      inputs.set(name, value);
      return value;
    },
    multiply(_x, matrix) {
      matrices.set(matrix.name, matrix);
      return undefined;
    },
    lookUp(_tokens, { name }) {
      tables.add(name);
      return undefined;
    },
  };
  const tokens = graph.constant(zeros('int32', [1, length]));
  const mask = graph.constant(float32([1, length], new Float32Array(length).fill(1)));
  wholeHidden(model, source, { tokens: () => tokens, read: () => ({ tokens, mask }) });
  for (const name of tables) matrices.delete(name);
  return matrices;
}
