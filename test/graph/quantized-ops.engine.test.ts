import { describe, expect, it } from 'vitest';
import { Random } from '../../src/random.ts';
import { compile, type Device, type Program } from '../../src/runtime/compile.ts';
import { isDeviceAvailable } from '../../src/runtime/availability.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, int32, type Tensor, tensor } from '../../src/graph/tensor.ts';
import {
  blockGather,
  blockMatmul,
  type BlockSize,
  blockSizes,
  blocksPerRow,
  integerMatmul,
  quantizeRows,
} from '../../src/graph/ops/quantized.ts';
import { roundsRowsApart } from '../processor.ts';

const random = new Random(11);

function normals(count: number): Float32Array {
  return Float32Array.from({ length: count }, () => random.normal());
}

function integers(count: number, first: number, last: number): number[] {
  return Array.from({ length: count }, () => first + random.integer(last - first + 1));
}

function worstOfPeak(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let peak = 0;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    peak = Math.max(peak, Math.abs(expected[i]));
    worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  }
  return worst / peak;
}

/** x [T,K] · w [N,K]ᵀ in float64. */
function product(x: ArrayLike<number>, w: ArrayLike<number>, T: number, N: number, K: number): Float64Array {
  const y = new Float64Array(T * N);
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) y[t * N + n] += x[t * K + k] * w[n * K + k];
  }
  return y;
}

/** Bytes [K,N] with scales [N] as a program, and the weights that they stand for [N,K]. */
async function byteProduct(N: number, K: number): Promise<{ program: Program; weights: Float64Array }> {
  const codes = Int8Array.from(integers(K * N, -127, 127));
  const scales = normals(N);
  const graph = new Graph('bytes');
  const x = graph.input('x', 'float32', ['T', K]);
  const weight = graph.weight('codes', tensor('int8', [K, N], codes));
  graph.output('y', integerMatmul(quantizeRows(x), weight, graph.weight('scales', float32([N], scales))));
  const weights = Float64Array.from({ length: N * K }, (_, i) => {
    const n = Math.floor(i / K);
    return codes[(i % K) * N + n] * scales[n];
  });
  return { program: await compile(graph), weights };
}

/** Codes of four bits [N,blocks,size/2], scales [N,blocks], and the weights [N,K] that they stand for. */
function blocks(N: number, K: number, size: BlockSize): { codes: Tensor; scales: Tensor; weights: Float64Array } {
  const count = blocksPerRow(K, size);
  const codes = Uint8Array.from(integers((N * count * size) / 2, 0, 255));
  const scales = normals(N * count);
  const weights = Float64Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    const block = n * count + Math.floor(k / size);
    const byte = codes[(block * size) / 2 + ((k % size) >> 1)];
    return ((k % 2 === 0 ? byte & 15 : byte >> 4) - 8) * scales[block];
  });
  return {
    codes: tensor('uint8', [N, count, size / 2], codes),
    scales: float32([N, count], scales),
    weights,
  };
}

async function blockProduct(
  N: number,
  K: number,
  size: BlockSize,
  device: Device,
): Promise<{ program: Program; weights: Float64Array }> {
  const { codes, scales, weights } = blocks(N, K, size);
  const graph = new Graph('blocks');
  const x = graph.input('x', 'float32', ['T', K]);
  graph.output('y', blockMatmul(x, graph.weight('codes', codes), graph.weight('scales', scales)));
  return { program: await compile(graph, { device }), weights };
}

async function run(program: Program, x: Float32Array, T: number): Promise<Float32Array> {
  const { y } = await program.run({ x: float32([T, x.length / T], x) }, ['y']);
  return dataOf(y, 'float32');
}

/**
 * Whether eight rows together give what each gives alone: bit for bit, or up to `rounding` of the row's peak, where a
 * single row has a kernel that adds up in another order.
 */
async function rowsAreIndependent(program: Program, K: number, rounding = 0): Promise<void> {
  const T = 8;
  const x = normals(T * K);
  x.subarray(K, 2 * K).fill(0);
  for (let k = 0; k < K; k++) x[2 * K + k] *= 1e4;
  const together = await run(program, x, T);
  const N = together.length / T;
  for (let t = 0; t < T; t++) {
    const alone = await run(program, x.slice(t * K, (t + 1) * K), 1);
    const row = together.subarray(t * N, (t + 1) * N);
    if (rounding === 0 || t === 1) expect([...row]).toEqual([...alone]);
    else expect(worstOfPeak(row, alone)).toBeLessThan(rounding);
  }
  expect([...together.subarray(N, 2 * N)].every((value) => value === 0)).toBe(true);
}

describe('quantized rows', () => {
  it('are codes around 128 with a scale per row', async () => {
    const graph = new Graph('rows');
    const { codes, scales } = quantizeRows(graph.input('x', 'float32', [2, 'T', 4]));
    graph.output('codes', codes);
    graph.output('scales', scales);
    await using program = await compile(graph);
    const x = float32([2, 1, 4], [-1, 0.5, 0, -0.498, 0, 0, 0, 0]);
    const found = await program.run({ x }, ['codes', 'scales']);
    // 0.5 · 127 = 63.5 is rounded up, −0.498 · 127 = −63.25 to the nearest.
    expect([...found.codes.data]).toEqual([1, 192, 128, 65, 128, 128, 128, 128]);
    expect(found.scales.shape).toEqual([2, 1, 1]);
    expect(found.scales.data[0]).toBeCloseTo(1 / 127, 8);
  });
});

describe.each([
  [3, 5],
  [96, 64],
  [50, 172],
])('products with a matrix of %i outputs and %i inputs', (N, K) => {
  it('of eight bits are those of the weights that the codes stand for', async () => {
    const { program, weights } = await byteProduct(N, K);
    const x = normals(4 * K);
    expect(worstOfPeak(await run(program, x, 4), product(x, weights, 4, N, K))).toBeLessThan(0.02);
    // Activations that need no rounding: the largest of a row is 127, all are whole.
    const whole = Float32Array.from(integers(4 * K, -127, 127), (value, i) => (i % K === 0 ? 127 : value));
    expect(worstOfPeak(await run(program, whole, 4), product(whole, weights, 4, N, K))).toBeLessThan(1e-6);
    await program.dispose();
  });

  it.each(blockSizes)(
    'of four bits in blocks of %i are those of the weights that the codes stand for',
    async (size) => {
      const { program, weights } = await blockProduct(N, K, size, 'cpu');
      const x = normals(4 * K);
      expect(worstOfPeak(await run(program, x, 4), product(x, weights, 4, N, K))).toBeLessThan(0.02);
      await program.dispose();
    },
  );

  it('give a row the same, bit for bit, whatever stands next to it', async () => {
    const bytes = await byteProduct(N, K);
    await rowsAreIndependent(bytes.program, K);
    await bytes.program.dispose();
    for (const size of blockSizes) {
      const nibbles = await blockProduct(N, K, size, 'cpu');
      await rowsAreIndependent(nibbles.program, K, size === 32 && roundsRowsApart === undefined ? 0 : 1e-6);
      await nibbles.program.dispose();
    }
  });
});

describe('look-ups in a table of four bits', () => {
  it.each(blockSizes)('give its rows, block by block of %i', async (size) => {
    const [N, K] = [7, 2 * size];
    const { codes, scales, weights } = blocks(N, K, size);
    const graph = new Graph('table');
    const indices = graph.input('indices', 'int32', ['B', 'T']);
    graph.output('y', blockGather(graph.weight('codes', codes), graph.weight('scales', scales), indices));
    await using program = await compile(graph);
    const { y } = await program.run({ indices: int32([1, 3], [6, 0, 6]) }, ['y']);
    expect(y.shape).toEqual([1, 3, 2, size]);
    const expected = [6, 0, 6].flatMap((row) => [...weights.subarray(row * K, (row + 1) * K)]);
    expect(worstOfPeak(dataOf(y, 'float32'), expected)).toBeLessThan(1e-6);
  });
});

const absent = !(await isDeviceAvailable('webgpu'));

describe.skipIf(absent)(`on webgpu${absent ? ' (skipped: no Vulkan, Metal or Direct3D driver)' : ''}`, () => {
  it.each(blockSizes)('products of four bits in blocks of %i take activations as they are', async (size) => {
    const { program, weights } = await blockProduct(50, 172, size, 'webgpu');
    const x = normals(4 * 172);
    expect(worstOfPeak(await run(program, x, 4), product(x, weights, 4, 50, 172))).toBeLessThan(0.02);
    await program.dispose();
  });
});

describe('ill-fitting operands', () => {
  const graph = new Graph('wrong');
  const x = graph.input('x', 'float32', ['T', 40]);
  const codes = graph.input('codes', 'uint8', [8, 2, 16]);
  const scales = graph.input('scales', 'float32', [8, 2]);
  it.each([
    ['rows of integers', () => quantizeRows(codes)],
    ['another width', () => blockMatmul(graph.input('wide', 'float32', ['T', 65]), codes, scales)],
    ['scales of another shape', () => blockMatmul(x, codes, graph.input('deep', 'float32', [8, 2, 1]))],
    ['look-ups by numbers that are none', () => blockGather(codes, scales, x)],
    [
      'a matrix of another width',
      () => integerMatmul(quantizeRows(x), graph.input('w', 'int8', [39, 8]), graph.input('s', 'float32', [8])),
    ],
    [
      'weights without a sign',
      () => integerMatmul(quantizeRows(x), graph.input('u', 'uint8', [40, 8]), graph.input('t', 'float32', [8])),
    ],
  ])('are refused: %s', (_, build) => {
    expect(build).toThrow(expect.objectContaining({ code: 'SHAPE' }));
  });
});
