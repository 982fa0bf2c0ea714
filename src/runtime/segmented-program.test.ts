/** The memory of a segment has its weights as they are read, and the one that the engine multiplies by in float32. */
import { expect, it } from 'vitest';
import { Graph } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { segmentsCost, WeightMemory } from './segmented-program.ts';

it('counts the weights of a segment in float16, and in float32 one after the other', () => {
  const graph = new Graph('two products');
  const x = graph.input('x', 'float32', [4, 64]);
  const [first, second] = ['first', 'second'].map((name) => graph.input(name, 'float32', [64, 64]));
  graph.output('y', matmul(matmul(x, first), second));
  const readInto = (): never => {
    throw new Error('a cost reads no weights');
  };
  const half = { dtype: 'float16' as const, shape: [64, 64], readInto };
  const { segmentBytes, readBytes } = segmentsCost(
    graph,
    new Map([
      ['first', half],
      ['second', half],
    ]),
  );
  expect(readBytes).toBe(2 * 2 * 64 * 64);
  expect(segmentBytes).toBeGreaterThanOrEqual(readBytes + 4 * 64 * 64);
  expect(segmentBytes).toBeLessThan(readBytes + 1.5 * 4 * 64 * 64);
});

it('reads weights of all sizes into one memory, as large as the largest reading', async () => {
  const targets: (Float32Array | Uint16Array)[] = [];
  const weight = (dtype: 'float32' | 'float16', shape: readonly number[]) => ({
    dtype,
    shape,
    readInto: async (target: Float32Array | Uint16Array) => void targets.push(target.fill(targets.length + 1)),
  });
  const weights = new Map([
    ['table', weight('float16', [50, 8])],
    ['matrix', weight('float32', [64, 8])],
    ['gain', weight('float32', [3])],
  ]);
  const graph = new Graph('readings');
  const reading = (...names: string[]) => [
    { inputs: new Map(names.map((name) => [name, graph.inputs.get(name) ?? graph.input(name, 'float32', [1])])) },
  ];
  const memory = new WeightMemory(weights);
  const readings = [reading('table'), reading('gain', 'matrix', 'gain'), reading('table')];
  memory.reserve(readings);
  for (const each of readings) {
    const read = await memory.read(each);
    for (const [name, { shape, data }] of read) {
      expect(shape).toEqual(weights.get(name)?.shape);
      expect(new Set(Array.from(data, Number)).size, name).toBe(1); // no weight lies in another
    }
  }
  expect(targets).toHaveLength(4);
  expect(new Set(targets.map(({ buffer }) => buffer)).size).toBe(1);
  expect(targets[0].buffer.byteLength).toBe(64 + 4 * 64 * 8);
});
