/** Layers that are computed anew for their gradients: equal losses and gradients, and less memory for as long as a run takes. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import {
  expectClose,
  gradientGraph,
  lossBatch,
  lossFamilies,
  lossModel,
} from '../../../test/training/loss-gradients.ts';
import { graphCost } from '../../graph/cost.ts';
import { liveNodes } from '../../graph/graph.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';

describe.each(lossFamilies)('%s', (family) => {
  const model = lossModel(family);

  it('computes every layer anew', () => {
    const count = (one: CausalModel): number =>
      liveNodes(gradientGraph(one).outputs.values()).filter(({ op }) => op === 'recomputed').length;
    expect([model, recomputing(model)].map(count)).toEqual([0, model.sizes.layers]);
  });

  it('has the loss and the gradients of the model that keeps its results', async () => {
    const feeds = { ...Object.fromEntries(initializeParameters(model, new Random(1), 0.3)), ...lossBatch(model) };
    const run = async (one: CausalModel) => {
      const graph = gradientGraph(one);
      await using program = await compile(graph);
      return await program.run(feeds, [...graph.outputs.keys()]);
    };
    const [kept, anew] = [await run(model), await run(recomputing(model))];
    expect(Object.keys(anew)).toEqual(Object.keys(kept));
    for (const [name, value] of Object.entries(kept)) expectClose(anew[name], value, name);
  });
});

it('keeps less of long rows', () => {
  const model = describeCausalModel({ ...tinyConfig('llama'), num_hidden_layers: 8, max_position_embeddings: 512 });
  const [kept, anew] = [model, recomputing(model)].map((one) => graphCost(gradientGraph(one, 256)));
  expect(anew.peakBytes).toBeLessThan(0.5 * kept.peakBytes);
  expect(anew.operations).toBeLessThan(1.4 * kept.operations);
});
