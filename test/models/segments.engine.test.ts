/** Models of every family in segments: the numbers of the whole graph, from the weights of one layer at a time. */
import { describe, expect, it } from 'vitest';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { describeModel, supportedFamilies } from '../../src/models/families/index.ts';
import { wholeHidden } from '../../src/models/graphs/parallel-graph.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { exchangeByName } from '../../src/models/linearization/linearize.ts';
import type { Model } from '../../src/models/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { onlyInputs } from '../../src/runtime/program.ts';
import { runSegments, SegmentedProgram } from '../../src/runtime/segmented-program.ts';
import { tinyConfig } from './tiny-model.ts';

const [rows, length] = [2, 24];

function logitsGraph(model: Model): Graph {
  const graph = new Graph('logits');
  const source = new InputParameters(graph);
  const hidden = wholeHidden(model, source, {
    tokens: () => graph.input('tokens', 'int32', [rows, length]),
    read: () => ({
      tokens: graph.input('read', 'int32', [rows, length]),
      mask: graph.input('mask', 'float32', [rows, length]),
    }),
  });
  graph.output('logits', model.head(source, hidden));
  return graph;
}

function randomFeeds(seed: number): Record<string, Tensor> {
  const random = new Random(seed);
  const tokens = (): Tensor =>
    int32(
      [rows, length],
      Array.from({ length: rows * length }, () => random.integer(256)),
    );
  const mask = Array.from({ length: rows * length }, (_, i) => (i < 2 * length - 5 ? 1 : 0));
  return { tokens: tokens(), read: tokens(), mask: float32([rows, length], mask) };
}

const mixers = ['softmax', 'augmented', 'window'] as const;

describe.each(supportedFamilies)('%s in segments', (family) => {
  it.each(mixers)('with %s has the numbers of the whole graph', async (name) => {
    const native = describeModel(tinyConfig(family));
    const model = name === 'softmax' ? native : exchangeByName(native, name, { group: 8 });
    const parameters = initializeParameters(model, new Random(3), 0.4);
    const runs = [1, 2, 3].map(randomFeeds);
    await using whole = await compile(logitsGraph(model));
    await using segmented = await SegmentedProgram.create(logitsGraph(model), parameters, (part) => compile(part));
    expect(segmented.segments.length).toBeGreaterThan(model.sizes.layers);
    const results = await runSegments(
      runs.map((feeds) => ({ program: segmented, feeds })),
      parameters,
    );
    for (const [index, feeds] of runs.entries()) {
      const given = onlyInputs(whole, { ...Object.fromEntries(parameters), ...feeds });
      const expected = dataOf((await whole.run(given, ['logits'])).logits, 'float32');
      const found = dataOf(results[index].logits, 'float32');
      const errors = found.map((x, i) => Math.abs(x - expected[i]));
      expect(Math.max(...errors)).toBeLessThanOrEqual(1e-6 * Math.max(1, ...expected.map(Math.abs)));
    }
  });
});
