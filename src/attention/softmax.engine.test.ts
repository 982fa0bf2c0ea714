/** Softmax over long rows: blocks of queries give what one product over the whole row gives. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../test/parity/golden.ts';
import { vectorJacobian } from '../graph/gradients.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, float32, type Tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { scaledScoring } from './scoring.ts';
import { causalSoftmax, queriesPerBlock } from './softmax.ts';

const [B, H, M, D, E] = [2, 4, 2, 6, 5];

describe('softmax by blocks of queries', () => {
  it.each([
    ...[63, 64, 65, 128, 200].map((n) => ({ n, sinks: [] })),
    ...[65, 200].map((n) => ({ n, sinks: ['sinks'] })),
  ])('has the outputs and gradients of the whole row at n = $n, parameters $sinks', async ({ n, sinks }) => {
    const graph = new Graph('softmax');
    const shapes = { q: [B, n, H, D], k: [B, n, M, D], v: [B, n, M, E] };
    const random = new Random(n);
    const normals = (shape: readonly number[]): Tensor =>
      float32(
        shape,
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
      );
    const q = graph.input('q', 'float32', shapes.q);
    const k = graph.input('k', 'float32', shapes.k);
    const v = graph.input('v', 'float32', shapes.v);
    const upstream = graph.input('dout', 'float32', [B, n, H, E]);
    const parameters = Object.fromEntries(sinks.map((name) => [name, graph.input(name, 'float32', [H])]));
    const fetch: string[] = [];
    for (const [form, most] of [
      ['whole', undefined],
      ['blocks', B * H * n * 64],
    ] as const) {
      const out = causalSoftmax({ q, k, v, parameters, scoring: scaledScoring(D) }, most);
      const results = [out, ...vectorJacobian([out], [upstream], [q, k, v, ...Object.values(parameters)])];
      for (const [index, result] of results.entries()) {
        graph.output(`${form}${index}`, result);
        fetch.push(`${form}${index}`);
      }
    }
    await using program = await compile(graph);
    const feeds = {
      q: normals(shapes.q),
      k: normals(shapes.k),
      v: normals(shapes.v),
      dout: normals([B, n, H, E]),
      ...Object.fromEntries(sinks.map((name) => [name, normals([H])])),
    };
    const results = await program.run(feeds, fetch);
    for (let index = 0; index < fetch.length / 2; index++) {
      const [blocks, whole] = ['blocks', 'whole'].map((form) => dataOf(results[`${form}${index}`], 'float32'));
      expect(relativeToPeak(blocks, whole)).toBeLessThan(2e-6);
    }
  });

  it('bounds the scores of a product, and leaves short rows whole', () => {
    expect(queriesPerBlock(14, 1024)).toBe(1024);
    for (const n of [10_240, 32_768, 131_072]) {
      expect(queriesPerBlock(14, n) * 14 * n).toBeLessThanOrEqual(2 ** 27);
      expect(queriesPerBlock(14, n)).toBeGreaterThanOrEqual(64);
    }
  });
});
