/**
 * Which tokens influence which predictions: replaces one token of a text at a time, and compares the model's predictions. In
 * a causal model nothing before the replaced token moves; an unmasked convolution moves predictions up to P positions before
 * it, in every layer again.
 */
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { abs, sub } from '../../graph/ops/elementwise.ts';
import { max } from '../../graph/ops/reduce.ts';
import { dataOf, int32, type Tensor } from '../../graph/tensor.ts';
import { slice } from '../../graph/ops/layout.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelLogits } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import type { Program } from '../../runtime/program.ts';

/** How far every token of a text moves the predictions at all positions. */
export interface TokenInfluence {
  /** T. */
  readonly length: number;
  /** Each token's replacement [T]. */
  readonly replacements: readonly number[];
  /** At (p, t): the largest movement [T,T] of a logit at position t when the token at p was replaced. */
  readonly moved: Float32Array;
}

/** The batch has a row per token, and one more. */
const mostTokens = 96;

/**
 * Replaces every token of a text by the one after it in the vocabulary, one at a time.
 * @param tokens 2 to 96 of them
 * @throws LinnetError `INPUT` for another number of tokens, and errors of `compile`
 * @example
 * ```ts
 * const { moved } = await tokenInfluence(model, parameters, tokens, { compile });
 * ```
 */
export async function tokenInfluence(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor>,
  tokens: ArrayLike<number>,
  /** As in `attentionMaps`. */
  { compile }: { readonly compile: (graph: Graph) => Promise<Program> },
): Promise<TokenInfluence> {
  const length = tokens.length;
  if (length < 2 || length > mostTokens) {
    throw new LinnetError('INPUT', `a text of ${length} tokens was given; expected 2 to ${mostTokens}`);
  }
  const replacements = Array.from(tokens, (token) => (token + 1) % model.sizes.vocabulary);
  const rows = new Int32Array((length + 1) * length);
  for (let row = 0; row <= length; row++) rows.set(Array.from(tokens), row * length);
  // Row p has another token at p; the last row is the unchanged text.
  replacements.forEach((token, position) => {
    rows[position * length + position] = token;
  });
  await using program = await compile(influenceGraph(model, parameters, length));
  const { moved } = await program.run({ tokens: int32([length + 1, length], rows) }, ['moved']);
  return { length, replacements, moved: dataOf(moved, 'float32') };
}

function influenceGraph(model: CausalModel, parameters: ReadonlyMap<string, Tensor>, length: number): Graph {
  const graph = new Graph('token influence');
  const tokens = graph.input('tokens', 'int32', [length + 1, length]);
  const logits = parallelLogits(model, new WeightParameters(graph, parameters), tokens); // [T+1,T,V]
  const changed = slice(logits, 0, 0, length);
  graph.output('moved', max(abs(sub(changed, slice(logits, 0, length, length + 1))), [2])); // [T,T]
  return graph;
}
