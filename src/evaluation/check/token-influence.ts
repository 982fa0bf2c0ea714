/**
 * Who depends on whom: one token of a text is replaced at a time, and the model's predictions are compared. In a causal model
 * nothing before the replaced token moves; an unmasked convolution moves what lies up to P positions before it, in every
 * layer once more.
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

/** How far every token of a text moves the predictions of all positions. */
export interface TokenInfluence {
  /** T. */
  readonly length: number;
  /** What stood for each token when it was replaced [T]. */
  readonly replacements: readonly number[];
  /** The largest movement [T,T] of a logit at position t, when the token at p was replaced, at (p, t). */
  readonly moved: Float32Array;
}

/** The batch has a row for every token, and one more. */
const mostTokens = 96;

/**
 * Replaces every token of a text by the one after it in the vocabulary, one at a time.
 * @param tokens 2 to 96 of them
 * @throws LinnetError `INPUT` for another number of tokens, and what `compile` throws
 * @example
 * ```ts
 * const { moved } = await tokenInfluence(model, parameters, tokens, { compile });
 * ```
 */
export async function tokenInfluence(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor>,
  tokens: ArrayLike<number>,
  /** `compile` as of `attentionMaps`. */
  { compile }: { readonly compile: (graph: Graph) => Promise<Program> },
): Promise<TokenInfluence> {
  const length = tokens.length;
  if (length < 2 || length > mostTokens) {
    throw new LinnetError('INPUT', `a text of ${length} tokens was given; expected 2 to ${mostTokens}`);
  }
  const replacements = Array.from(tokens, (token) => (token + 1) % model.sizes.vocabulary);
  const rows = new Int32Array((length + 1) * length);
  for (let row = 0; row <= length; row++) rows.set(Array.from(tokens), row * length);
  // Row p has another token at p; the last row is the text as it is.
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
