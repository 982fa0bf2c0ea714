import { describe, expect, it } from 'vitest';
import type { Graph } from '../graph/graph.ts';
import { dataOf, float32 } from '../graph/tensor.ts';
import { compile } from './compile.ts';
import type { Program } from './program.ts';
import { addsInOrder } from './summation-order.ts';

/** A runtime whose results depend on the number of rows, or on the zeros between terms. */
function changing(change: (feeds: Parameters<Program['run']>[0]) => boolean) {
  return async (graph: Graph): Promise<Program> => {
    const program = await compile(graph, { threads: 1 });
    const { run } = program;
    program.run = async (feeds, ...rest) => {
      const results = await run.call(program, feeds, ...rest);
      if (!change(feeds)) return results;
      const [[name, result], ...others] = Object.entries(results);
      const data = dataOf(result, 'float32').map((x) => x * 1.0001);
      return { ...Object.fromEntries(others), [name]: float32(result.shape, data) };
    };
    return program;
  };
}

describe('the order of sums', () => {
  it('is that of the columns with the kernels of this machine, as far as they are told apart', async () => {
    expect(await addsInOrder((graph) => compile(graph, { threads: 1 }))).toBe(true);
  });

  it('is another where five rows, or columns of zeros, change a bit', async () => {
    const rowsOf = ({ activations }: Parameters<Program['run']>[0]): number => activations.shape[0];
    expect(await addsInOrder(changing((feeds) => rowsOf(feeds) === 64))).toBe(false);
    let steps = 0;
    expect(await addsInOrder(changing(() => ++steps > 5))).toBe(false);
  });
});
