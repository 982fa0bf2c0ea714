/** The collision probability of hashes, as an operation of graphs. */
import { expect, it } from 'vitest';
import { compile } from '../../src/runtime/compile.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { sum } from '../../src/graph/ops/contraction.ts';
import { dataOf, float32 } from '../../src/graph/tensor.ts';
import { collision } from '../../src/graph/ops/surrogate-gradient.ts';

it('is the probability that all hyperplanes agree, with a surrogate gradient that is finite everywhere', async () => {
  const cosines = [-1, -0.5, 0, 0.5, 1, 1.0000001];
  const graph = new Graph('collision');
  const x = graph.input('x', 'float32', [cosines.length]);
  const y = collision(x, 4);
  graph.output('y', y);
  graph.output('dx', gradients(sum(y), [x])[0]);
  await using program = await compile(graph);
  const results = await program.run({ x: float32([cosines.length], cosines) }, ['y', 'dx']);
  // Angles of 180, 120, 90 and 60 degrees leave 0, 1/3, 1/2 and 2/3 of all hyperplanes on one side.
  const expected = [0, 1 / 81, 1 / 16, 16 / 81, 1, 1];
  const close = (actual: Float32Array, wanted: readonly number[]): void => {
    wanted.forEach((value, i) => {
      expect(actual[i]).toBeCloseTo(value, 6);
    });
  };
  close(dataOf(results.y, 'float32'), expected);
  close(
    dataOf(results.dx, 'float32'),
    expected.map((value) => 2 * value),
  );
});
