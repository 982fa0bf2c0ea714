import { expect, it } from 'vitest';
import { gradients } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { matmul, sum } from '../../graph/ops/contraction.ts';
import { crossEntropy } from '../../graph/ops/normalization.ts';
import { dataOf, float32, int32 } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { sumOverPositions } from './next-token.ts';

const [positions, width, vocabulary] = [70, 6, 11];

async function lossAndGradients(most: number) {
  const random = new Random(5);
  const normal = (shape: number[]) =>
    float32(
      shape,
      Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal()),
    );
  const graph = new Graph('blocks');
  const hidden = graph.input('hidden', 'float32', [positions, width]);
  const head = graph.input('head', 'float32', [width, vocabulary]);
  const labels = graph.input('labels', 'int32', [positions]);
  const loss = sumOverPositions(
    [hidden, labels],
    vocabulary,
    ([features, label]) => sum(crossEntropy(matmul(features, head), label)),
    most,
  );
  const [dHidden, dHead] = gradients(loss, [hidden, head]);
  for (const [name, value] of Object.entries({ loss, dHidden, dHead })) graph.output(name, value);
  await using program = await compile(graph);
  const feeds = {
    hidden: normal([positions, width]),
    head: normal([width, vocabulary]),
    labels: int32(
      [positions],
      Array.from({ length: positions }, (_, i) => i % vocabulary),
    ),
  };
  return await program.run(feeds, ['loss', 'dHidden', 'dHead']);
}

it.each([1, 32 * vocabulary, 48 * vocabulary])(
  'a loss over blocks of at most %i logits is the loss over all',
  async (most) => {
    const whole = await lossAndGradients(1 << 25);
    const blocks = await lossAndGradients(most);
    for (const name of ['loss', 'dHidden', 'dHead'] as const) {
      const expected = dataOf(whole[name], 'float32');
      dataOf(blocks[name], 'float32').forEach((value, i) => {
        expect(value, name).toBeCloseTo(expected[i], 3);
      });
    }
  },
);
