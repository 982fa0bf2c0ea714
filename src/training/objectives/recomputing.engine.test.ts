/** Layers that are computed anew for their gradients: equal losses and gradients, and less memory for as long as a run takes. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { graphCost } from '../../graph/cost.ts';
import { gradients } from '../../graph/gradients.ts';
import { Graph, liveNodes } from '../../graph/graph.ts';
import { dataOf, float32, int32 } from '../../graph/tensor.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { nextTokenLoss } from './next-token.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';

const [B, n] = [2, 24];

function lossGraph(model: CausalModel, length = n): Graph {
  const graph = new Graph('loss');
  const source = new InputParameters(graph);
  const tokens = (name: string) => graph.input(name, 'int32', [B, length]);
  const weights = graph.input('weights', 'float32', [B, length]);
  const loss = nextTokenLoss(model, source, { inputs: tokens('inputs'), labels: tokens('labels'), weights });
  graph.output('loss', loss);
  const names = [...source.values.keys()];
  gradients(loss, [...source.values.values()]).forEach((gradient, i) => {
    graph.output(`d ${names[i]}`, gradient);
  });
  return graph;
}

const families = [
  ...['llama', 'gpt2', 'flash', 'lfm2', 'gemma3_text', 'qwen3_5_text', 'granitemoehybrid', 'falcon_h1', 'smollm3'],
  'olmo_hybrid',
];

describe.each(families)('%s', (family) => {
  const plain = describeCausalModel(tinyConfig(family));
  const model =
    family === 'llama' ? plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 8 }))) : plain;

  it('computes every layer anew', () => {
    const count = (one: CausalModel): number =>
      liveNodes(lossGraph(one).outputs.values()).filter(({ op }) => op === 'recomputed').length;
    expect([model, recomputing(model)].map(count)).toEqual([0, model.sizes.layers]);
  });

  it('has the loss and the gradients of the model that keeps its results', async () => {
    const random = new Random(2);
    const drawn = () =>
      int32(
        [B, n],
        Array.from({ length: B * n }, () => random.integer(model.sizes.vocabulary)),
      );
    const batch = { inputs: drawn(), labels: drawn(), weights: float32([B, n], new Array<number>(B * n).fill(1)) };
    const feeds = { ...Object.fromEntries(initializeParameters(model, new Random(1), 0.3)), ...batch };
    const run = async (one: CausalModel) => {
      const graph = lossGraph(one);
      await using program = await compile(graph);
      return await program.run(feeds, [...graph.outputs.keys()]);
    };
    const [kept, anew] = [await run(model), await run(recomputing(model))];
    expect(Object.keys(anew)).toEqual(Object.keys(kept));
    for (const [name, value] of Object.entries(kept)) {
      const expected = dataOf(value, 'float32');
      const most = expected.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
      const found = dataOf(anew[name], 'float32');
      const error = expected.reduce((largest, x, i) => Math.max(largest, Math.abs(x - found[i])), 0);
      expect(error, name).toBeLessThan(1e-5 * most + 1e-9);
    }
  });
});

it('keeps less of long rows', () => {
  const model = describeCausalModel({ ...tinyConfig('llama'), num_hidden_layers: 8, max_position_embeddings: 512 });
  const [kept, anew] = [model, recomputing(model)].map((one) => graphCost(lossGraph(one, 256)));
  expect(anew.peakBytes).toBeLessThan(0.5 * kept.peakBytes);
  expect(anew.operations).toBeLessThan(1.4 * kept.operations);
});
