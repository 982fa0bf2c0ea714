/** Cost of reading text with a model up to its predictions, known from its shapes. */
import { graphCost, type GraphCost } from '../graph/cost.ts';
import { Graph } from '../graph/graph.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { max } from '../graph/ops/reduce.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { InputParameters } from '../nn/parameters.ts';
import { overPositions } from '../training/objectives/position-blocks.ts';

/** A row of `length` tokens, read up to its predictions. */
export function readingCost(model: CausalModel, length: number): GraphCost {
  const graph = new Graph('reading');
  const source = new InputParameters(graph);
  const hidden = parallelHidden(model, source, graph.input('tokens', 'int32', [1, length]));
  const best = overPositions([reshape(hidden, [length, model.sizes.width])], model.sizes.vocabulary, ([features]) =>
    max(model.head(source, features), [1]),
  );
  graph.output('best', concat(best, 0));
  return graphCost(graph);
}
