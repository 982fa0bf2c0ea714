/** Linear layers and embeddings. */
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { matmul } from '../graph/ops/matmul.ts';
import type { ParameterSource } from './parameters.ts';

/**
 * x Wᵀ with W [outputs, inputs], the layout of Hugging Face checkpoints. No bias.
 *
 * @param x [..., inputs]
 * @returns [..., outputs]
 */
export function linear(source: ParameterSource, name: string, x: Value, inputs: number, outputs: number): Value {
  return matmul(x, source.parameter(`${name}.weight`, [outputs, inputs]), { transposeB: true });
}

/**
 * Rows of a table by token id.
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
  return gather(source.parameter(`${name}.weight`, [vocabulary, width]), tokens);
}

/**
 * x W + b with W [inputs, outputs], the layout of GPT-2's checkpoints (there called Conv1D).
 *
 * @param x [..., inputs]
 * @returns [..., outputs]
 */
export function affine(source: ParameterSource, name: string, x: Value, inputs: number, outputs: number): Value {
  const product = matmul(x, source.parameter(`${name}.weight`, [inputs, outputs]));
  return add(product, source.parameter(`${name}.bias`, [outputs]));
}
