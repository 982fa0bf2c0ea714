/**
 * How well Medusa heads guess: the rank of the actual token among each head's guesses, at every position of a text. Accuracy
 * follows from these ranks.
 */
import { LinnetError, type Stoppable } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { cast, greater } from '../../graph/ops/elementwise.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { pad, reshape, slice } from '../../graph/ops/layout.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { headLogits, type MedusaConfig } from '../../models/medusa/medusa.ts';
import { decoderOf, type GeneratingModel } from '../../models/model.ts';
import { InputParameters } from '../../nn/parameters.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import { compileWindows, type WindowBatch, windowHidden, type WindowOutputs } from '../perplexity/window-batches.ts';

/** Ranks at positions t whose token t + 1 is scored, in window order. */
type HeadRanks = Awaited<ReturnType<typeof headRanks>>;

/**
 * Runs model and heads over windows of a text.
 * @param parameters of the model and the heads
 * @param windows with the source text of each, for an encoder-decoder model
 * @throws LinnetError `INPUT` if no window reaches beyond the first head, `ABORTED` when the signal fires
 */
export async function headRanks(
  model: GeneratingModel,
  medusa: MedusaConfig,
  parameters: ReadonlyMap<string, Tensor>,
  windows: readonly ScoredWindow[],
  { signal, ...compileOptions }: CompileOptions & Stoppable = {},
) {
  if (decoderOf(model).cross !== undefined && windows.some(({ source }) => source === undefined)) {
    throw new LinnetError(
      'INPUT',
      `heads of a ${model.family} model are measured on texts with what it reads before them`,
    );
  }
  const usable = windows.filter(({ tokens, scoredFrom }) => tokens.length > scoredFrom + 1);
  if (usable.length === 0) throw new LinnetError('INPUT', 'the text is too short to measure Medusa heads on');
  const graphOf = (batch: WindowBatch): Graph => rankGraph(model, medusa, batch);
  await using graphs = await compileWindows(usable, graphOf, model.sizes.vocabulary, compileOptions);
  const ranksOf = ({ window: { tokens, scoredFrom }, outputs }: WindowOutputs): number[] =>
    Array.from({ length: tokens.length - scoredFrom - 1 }, (_, i) => scoredFrom - 1 + i).flatMap((t) =>
      Object.values(outputs).map((ranks, head) => (t + 2 + head < tokens.length ? ranks[t] : -1)),
    );
  const ranks = Int32Array.from((await graphs.map(parameters, ranksOf, signal)).flat());
  return {
    heads: medusa.heads,
    positions: ranks.length / medusa.heads,
    /** [positions,H]: tokens that head i ranked above token t + 2 + i; −1 if the text ends before it. */
    ranks,
  };
}

/** `inputs` and `labels` int32 [B,n] → each head's `ranks.i` [B,n]: how many tokens it ranked higher. */
function rankGraph(model: GeneratingModel, medusa: MedusaConfig, { rows, length, sourceLength }: WindowBatch): Graph {
  const graph = new Graph(`medusa ranks ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const labels = graph.input('labels', 'int32', [rows, length]);
  const source = new InputParameters(graph);
  const hidden = windowHidden(model, source, inputs, sourceLength); // [B,n,width]
  for (let head = 0; head < medusa.heads; head++) {
    const offset = head + 1;
    const count = rows * (length - offset);
    const states = reshape(slice(hidden, 1, 0, length - offset), [count, model.sizes.width]);
    const logits = headLogits(medusa, model.sizes, source, head, states); // [count,V]
    const truth = gatherElements(logits, reshape(slice(labels, 1, offset, length), [count, 1]), 1); // [count,1]
    const ranks = sum(cast(greater(logits, truth), 'float32'), [1]); // [count]
    graph.output(`ranks.${head}`, pad(reshape(ranks, [rows, length - offset]), 1, 0, offset)); // [B,n]
  }
  return graph;
}

/** Share of tokens among each head's most likely 1, 2, …, `k`: [H][k]. A head that met no token has none. */
export function topAccuracy({ heads, positions, ranks }: HeadRanks, k: number): number[][] {
  return Array.from({ length: heads }, (_, head) => {
    const counts = new Array<number>(k).fill(0);
    let total = 0;
    for (let position = 0; position < positions; position++) {
      const rank = ranks[position * heads + head];
      if (rank < 0) continue;
      total++;
      if (rank < k) counts[rank]++;
    }
    let within = 0;
    return total === 0 ? [] : counts.map((count) => (within += count) / total);
  });
}
