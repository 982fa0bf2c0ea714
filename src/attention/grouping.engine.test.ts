import { expect, it } from 'vitest';
import { Graph, liveNodes } from '../graph/graph.ts';
import { dataOf, float32 } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { earlierSums, laterSums, makeGrouping } from './grouping.ts';

it.each([
  [200, 0.5],
  [600, 0.5],
  [600, 0.999],
])('sums of %i groups that fade by %f are those of a loop, without a constant of N² numbers', async (groups, fade) => {
  const grouping = makeGrouping(2, groups, 1, 1, 1);
  const random = new Random(1);
  const draw = () =>
    float32(
      [1, 2 * groups, 1, 1],
      Array.from({ length: 2 * groups }, () => random.normal()),
    );
  const [keys, values] = [draw(), draw()];
  const graph = new Graph('faded sums');
  const [k, v] = ['keys', 'values'].map((name) => graph.input(name, 'float32', [1, 2 * groups, 1, 1]));
  graph.output('earlier', earlierSums(grouping, k, v, fade));
  graph.output('later', laterSums(grouping, k, v, fade));
  const constants = liveNodes(graph.outputs.values()).flatMap(({ inputs }) => inputs.map(({ constant }) => constant));
  for (const constant of constants) expect(constant?.data.length ?? 0).toBeLessThanOrEqual(256 * 256);
  await using program = await compile(graph);
  const found = await program.run({ keys, values }, ['earlier', 'later']);
  const [earlier, later] = [dataOf(found.earlier, 'float32'), dataOf(found.later, 'float32')];
  for (let row = 0; row < 2; row++) {
    const product = (group: number): number => keys.data[row * groups + group] * values.data[row * groups + group];
    for (let sum = 0, group = 0; group < groups; sum = fade * sum + product(group++)) {
      expect(earlier[row * groups + group]).toBeCloseTo(sum, 4);
    }
    for (let sum = 0, group = groups - 1; group >= 0; sum = fade * sum + product(group--)) {
      expect(later[row * groups + group]).toBeCloseTo(sum, 4);
    }
  }
});
