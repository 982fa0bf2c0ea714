/** Linear layers and embeddings. */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { layerNorm } from '../graph/ops/normalization.ts';
import type { ParameterSource, WeightMatrix } from './parameters.ts';

/** The product with a parameter matrix, as the source computes it or from the parameter itself. */
export function multiplyWeights(source: ParameterSource, x: Value, matrix: WeightMatrix): Value {
  const own = source.multiply?.(x, matrix);
  if (own !== undefined) return own;
  const { name, inputs, outputs, layout } = matrix;
  return layout === 'outputs-first'
    ? matmul(x, source.parameter(name, [outputs, inputs]), { transposeB: true })
    : matmul(x, source.parameter(name, [inputs, outputs]));
}

/**
 * x Wᵀ with W [outputs, inputs], the layout of Hugging Face checkpoints. No bias.
 *
 * @param x [..., inputs]
 * @returns [..., outputs]
 */
export function linear(source: ParameterSource, name: string, x: Value, outputs: number): Value {
  return multiplyWeights(source, x, { name: `${name}.weight`, inputs: rowWidth(x), outputs, layout: 'outputs-first' });
}

function rowWidth({ shape }: Value): number {
  return Number(shape.at(-1));
}

/**
 * Several `linear` results (with `biases`, `biasedLinear`) for one x side by side, if the source multiplies their matrices
 * in one product; else undefined.
 *
 * @param outputs numbers per layer, by name
 * @returns [..., Σ outputs]
 */
export function joinedLinear(
  source: ParameterSource,
  x: Value,
  outputs: Readonly<Record<string, number>>,
  biases = false,
): Value | undefined {
  const inputs = rowWidth(x);
  const layers = Object.entries(outputs);
  const product = source.multiplyJoined?.(
    x,
    layers.map(([name, outputs]) => ({ name: `${name}.weight`, inputs, outputs, layout: 'outputs-first' })),
  );
  if (product === undefined || !biases) return product;
  const values = layers.map(([name, outputs]) => source.parameter(`${name}.bias`, [outputs]));
  return add(product, concat(values, 0));
}

/**
 * x Wᵀ + b with W [outputs, inputs], the layout of Hugging Face checkpoints.
 *
 * @param x [..., inputs]
 * @returns [..., outputs]
 */
export function biasedLinear(source: ParameterSource, name: string, x: Value, outputs: number): Value {
  return add(linear(source, name, x, outputs), source.parameter(`${name}.bias`, [outputs]));
}

/** Splits rows of several heads side by side: [B,T,heads·X] → [B,T,heads,X]. */
export function inHeads(rows: Value, heads: number): Value {
  const [B, T, width] = rows.shape;
  return reshape(rows, [B, T, heads, Number(width) / heads]);
}

/**
 * Looks up a table's rows by token id.
 *
 * @param tokens int32 [...]
 * @returns [..., width]
 */
export function embedding(
  source: ParameterSource,
  name: string,
  tokens: Value,
  vocabulary: number,
  width: number,
): Value {
  const table = { name: `${name}.weight`, rows: vocabulary, width };
  return source.lookUp?.(tokens, table) ?? gather(source.parameter(table.name, [vocabulary, width]), tokens);
}

/**
 * x W + b with W [inputs, outputs], the layout of GPT-2's checkpoints (Conv1D there).
 *
 * @param x [..., inputs]
 * @returns [..., outputs]
 */
export function affine(source: ParameterSource, name: string, x: Value, outputs: number): Value {
  const matrix = { name: `${name}.weight`, inputs: rowWidth(x), outputs, layout: 'inputs-first' } as const;
  return add(multiplyWeights(source, x, matrix), source.parameter(`${name}.bias`, [outputs]));
}

/** Layer norm with gain `name`.weight and bias `name`.bias. */
export function namedLayerNorm(source: ParameterSource, name: string, x: Value, epsilon: number): Value {
  const width = rowWidth(x);
  const gain = source.parameter(`${name}.weight`, [width]);
  return layerNorm(x, gain, source.parameter(`${name}.bias`, [width]), epsilon);
}
