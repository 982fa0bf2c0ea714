/** The runtime's recurrences have the bits of reading at once, however rows are cut, batched and padded. */
import { expect, it } from 'vitest';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { dataOf, float32, type Tensor } from '../../src/graph/tensor.ts';
import { deltaGates, deltaRecurrence } from '../../src/graph/ops/recurrence.ts';

const [B, M, D, E] = [2, 3, 5, 7];
const widths = { queries: [M * D], keys: [M * D], values: [M * E], logs: [M], gates: [M] } as const;
type Rows = Record<keyof typeof widths | 'state', Tensor<'float32'>>;

const graph = new Graph('recurrence');
const input = (name: keyof Rows): Value =>
  graph.input(name, 'float32', name === 'state' ? ['B', M, D, E] : ['B', 'n', ...widths[name]]);
const { state, ...rows } = { ...inputs(input), state: input('state') };
const read = deltaRecurrence(rows, state);
graph.output('mixed', read.mixed);
graph.output('after', read.state);

function inputs<T>(of: (name: keyof typeof widths) => T): Record<keyof typeof widths, T> {
  return { queries: of('queries'), keys: of('keys'), values: of('values'), logs: of('logs'), gates: of('gates') };
}

/** Rows of B texts of n positions. */
function drawn(n: number): Rows {
  const random = new Random(n);
  const draw = (shape: readonly number[], of: (x: number) => number): Tensor<'float32'> =>
    float32(
      shape,
      Array.from({ length: shape.reduce((a, b) => a * b) }, () => of(random.normal())),
    );
  const shape = (name: keyof typeof widths): number[] => [B, n, ...widths[name]];
  return {
    queries: draw(shape('queries'), (x) => x),
    keys: draw(shape('keys'), (x) => x / 3),
    values: draw(shape('values'), (x) => x),
    logs: draw(shape('logs'), (x) => -Math.abs(x)),
    gates: draw(shape('gates'), (x) => 1 / (1 + Math.exp(-x))),
    state: draw([B, M, D, E], (x) => x),
  };
}

/** Positions `from` … `to` of one text, from a state on. */
function part(all: Rows, text: number, from: number, to: number, before: Tensor<'float32'>): Rows {
  const cut = (name: keyof typeof widths): Tensor<'float32'> => {
    const [, n, ...width] = all[name].shape;
    const size = width.reduce((a, b) => a * b);
    return float32([1, to - from, ...width], all[name].data.slice((text * n + from) * size, (text * n + to) * size));
  };
  return { ...inputs(cut), state: before };
}

it('reads texts in parts, alone and behind rows that change nothing with the same bits', async () => {
  await using program = await compile(graph);
  const n = 11;
  const all = drawn(n);
  const whole = await program.run(all, ['mixed', 'after']);
  const size = M * D * E;
  const stateOf = (text: number, states: Tensor): Tensor<'float32'> =>
    float32([1, M, D, E], dataOf(states, 'float32').slice(text * size, (text + 1) * size));
  for (const [text, cut] of [
    [0, 1],
    [1, 6],
  ]) {
    const first = await program.run(part(all, text, 0, cut, stateOf(text, all.state)), ['mixed', 'after']);
    const still = part(all, text, 0, 3, stateOf(0, first.after));
    still.logs.data.fill(0);
    still.gates.data.fill(0);
    const unchanged = await program.run(still, ['after']);
    const second = await program.run(part(all, text, cut, n, stateOf(0, unchanged.after)), ['mixed', 'after']);
    const mixed = [first, second].flatMap((results) => [...dataOf(results.mixed, 'float32')]);
    const width = M * E * n;
    expect(mixed).toEqual([...dataOf(whole.mixed, 'float32').subarray(text * width, (text + 1) * width)]);
    expect(second.after.data).toEqual(stateOf(text, whole.after).data);
  }
});

it('refuses rows that do not fit', () => {
  const other = graph.input('other', 'float32', ['B', 'n', M * D + 1]);
  expect(() => deltaRecurrence({ ...rows, keys: other }, state)).toThrow(expect.objectContaining({ code: 'SHAPE' }));
  const numbers = graph.input('numbers', 'float32', ['B', 'n', M]);
  const bias = graph.input('bias', 'float32', [M + 1]);
  expect(() => deltaGates(numbers, bias, bias, numbers)).toThrow(expect.objectContaining({ code: 'SHAPE' }));
});
