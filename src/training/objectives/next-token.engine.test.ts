/** Smoothed labels against the definition, in float64. */
import { describe, expect, it } from 'vitest';
import { gradients } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { dataOf, float32, int32 } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { labelLoss } from './next-token.ts';

const rows = 4;
const classes = 5;
const random = new Random(2);
const logits = Float32Array.from({ length: rows * classes }, () => 3 * random.normal());
const labels = Int32Array.from({ length: rows }, () => random.integer(classes));

/** −Σ_v q_v log p_v of a row, and its derivative p − q. */
function expected(row: number, smoothing: number): { loss: number; derivative: number[] } {
  const z = [...logits.subarray(row * classes, (row + 1) * classes)];
  const total = z.reduce((all, value) => all + Math.exp(value), 0);
  const q = z.map((_, v) => smoothing / classes + (v === labels[row] ? 1 - smoothing : 0));
  return {
    loss: -z.reduce((all, value, v) => all + q[v] * (value - Math.log(total)), 0),
    derivative: z.map((value, v) => Math.exp(value) / total - q[v]),
  };
}

describe.each([0, 0.1, 0.7])('labels smoothed by %d', (labelSmoothing) => {
  it('have the loss and gradient of their definition', async () => {
    const graph = new Graph('label loss');
    const z = graph.input('z', 'float32', [rows, classes]);
    const loss = labelLoss(z, graph.input('labels', 'int32', [rows]), { labelSmoothing });
    graph.output('loss', loss);
    graph.output('dz', gradients(sum(loss), [z])[0]);
    const program = await compile(graph);
    const feeds = { z: float32([rows, classes], logits), labels: int32([rows], labels) };
    const found = await program.run(feeds, ['loss', 'dz']);
    await program.dispose();
    for (let row = 0; row < rows; row++) {
      const { loss: value, derivative } = expected(row, labelSmoothing);
      expect(dataOf(found.loss, 'float32')[row]).toBeCloseTo(value, 5);
      derivative.forEach((d, v) => expect(dataOf(found.dz, 'float32')[row * classes + v]).toBeCloseTo(d, 5));
    }
  });
});
