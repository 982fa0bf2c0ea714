import { describe, expect, it, vi } from 'vitest';
import { countOptimizedNodes } from '../../test/graph/optimized-nodes.ts';
import { onnxOp, product, sum } from '../../test/graph/onnx-op.ts';
import { defineOp, Graph, type ValueType } from '../graph/graph.ts';
import type { OnnxAttributes, OnnxDomain } from '../graph/onnx/model.ts';
import { dataOf, float32, int32, type Tensor, tensor } from '../graph/tensor.ts';
import { isDeviceAvailable } from './availability.ts';
import { compile, type CompileOptions } from './compile.ts';

/** Runs one ONNX node on tensors; a tensor named in `constants` is one instead of an input. */
async function runNode(
  opType: string,
  inputs: readonly Tensor[],
  output: ValueType,
  options: { attributes?: OnnxAttributes; domain?: OnnxDomain; constants?: readonly number[] } = {},
): Promise<Tensor> {
  const graph = new Graph(opType);
  const values = inputs.map((input, index) =>
    options.constants?.includes(index) === true
      ? graph.constant(input)
      : graph.input(`x${index}`, input.dtype, input.shape),
  );
  graph.output('y', onnxOp(opType, values, [output], options)[0]);
  await using program = await compile(graph);
  const feeds = Object.fromEntries(
    [...program.inputs.keys()].map((name) => [name, inputs[Number(name.slice(1))]] as const),
  );
  return (await program.run(feeds, ['y'])).y;
}

describe('attributes reach the engine', () => {
  const x = float32([2, 2], [-1, 2, -3, 4]);
  const square: ValueType = { dtype: 'float32', shape: [2, 2] };

  it('int', async () => {
    const y = await runNode('CumSum', [x, int32([], [1])], square, {
      constants: [1],
      attributes: { reverse: { int: 1 } },
    });
    expect(y).toEqual(float32([2, 2], [1, 2, 1, 4]));
  });

  it('float', async () => {
    const y = await runNode('LeakyRelu', [x], square, { attributes: { alpha: { float: 0.5 } } });
    expect(y).toEqual(float32([2, 2], [-0.5, 2, -1.5, 4]));
  });

  it('string', async () => {
    const indices = tensor('int64', [2, 2], BigInt64Array.of(0n, 0n, 0n, 0n));
    const y = await runNode('ScatterElements', [x, indices, x], square, {
      attributes: { axis: { int: 0 }, reduction: { string: 'add' } },
    });
    expect(y).toEqual(float32([2, 2], [-5, 8, -3, 4]));
  });

  it('ints', async () => {
    const y = await runNode('Transpose', [x], square, { attributes: { perm: { ints: [1, 0] } } });
    expect(y).toEqual(float32([2, 2], [-1, -3, 2, 4]));
  });

  it('floats', async () => {
    const graph = new Graph();
    const input = graph.input('x', 'float32', [2]);
    const op = defineOp({
      name: 'addConstant',
      infer: () => [input],
      lower: (emitter, node) => {
        const constant = emitter.step('Constant', [], { value_floats: { floats: [0.5, -1] } });
        emitter.emit('Add', [...node.inputs, constant], node.outputs);
      },
      gradient: { notDifferentiable: 'made for this test' },
    });
    graph.output('y', op.apply([input], {})[0]);
    await using program = await compile(graph);
    expect((await program.run({ x: float32([2], [1, 1]) }, ['y'])).y).toEqual(float32([2], [1.5, 0]));
  });

  it('domain', async () => {
    const y = await runNode('FusedMatMul', [x, x], square, {
      domain: 'com.microsoft',
      attributes: { transB: { int: 1 }, alpha: { float: 2 } },
    });
    expect(y).toEqual(float32([2, 2], [10, 22, 22, 50]));
  });
});

describe('tensors reach the engine and come back', () => {
  const examples: Tensor[] = [
    float32([2], [1.5, -2]),
    tensor('float64', [2], Float64Array.of(Math.PI, -1e300)),
    // 1.0, −2.0 and the smallest subnormal as bits
    tensor('float16', [3], Uint16Array.of(0x3c00, 0xc000, 0x0001)),
    tensor('int64', [2], BigInt64Array.of(-(2n ** 62n), 5n)),
    int32([2], [-7, 2 ** 31 - 1]),
    tensor('int8', [2], Int8Array.of(-128, 127)),
    tensor('uint8', [2], Uint8Array.of(0, 255)),
    tensor('bool', [2], Uint8Array.of(1, 0)),
    float32([], [42]),
    float32([0, 3], []),
    float32([2, 1, 2], [1, 2, 3, 4]),
  ];

  it.each(examples)('$dtype $shape as input, weight and constant', async (example) => {
    const graph = new Graph('copies');
    const type = { dtype: example.dtype, shape: example.shape };
    graph.output('fromInput', graph.input('x', example.dtype, example.shape));
    graph.output('fromWeight', onnxOp('Identity', [graph.weight('w', example)], [type])[0]);
    graph.output('fromConstant', graph.constant(example));
    await using program = await compile(graph);
    const results = await program.run({ x: example }, ['fromInput', 'fromWeight', 'fromConstant']);
    expect(results).toEqual({ fromInput: example, fromWeight: example, fromConstant: example });
  });

  it('takes a view of a larger buffer', async () => {
    const view = tensor('float32', [2], Float32Array.of(9, 1, 2, 9).subarray(1, 3));
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    graph.output('y', sum(x, graph.weight('w', view)));
    await using program = await compile(graph);
    expect((await program.run({ x: view }, ['y'])).y).toEqual(float32([2], [2, 4]));
  });

  it('takes weights that the engine reads from memory of ours', async () => {
    const size = 256;
    const whole = new Float32Array(size * size + 3).fill(9);
    const data = whole.subarray(3).fill(0);
    for (let index = 0; index < size; index++) data[index * size + index] = index;
    const graph = new Graph();
    const x = graph.input('x', 'float32', ['T', size]);
    graph.output('y', product(x, graph.weight('w', tensor('float32', [size, size], data))));
    await using program = await compile(graph);
    // The engine must hold its own copy by now.
    data.fill(Number.NaN);
    const { y } = await program.run({ x: float32([1, size], new Array(size).fill(2)) }, ['y']);
    expect([...y.data]).toEqual(Array.from({ length: size }, (_, index) => 2 * index));
  });
});

describe('a program', () => {
  function scaledSum(): Graph {
    const graph = new Graph('scaled sum');
    const a = graph.input('a', 'float32', ['B', 'T', 2]);
    const b = graph.input('b', 'float32', ['T', 2]);
    graph.input('unused', 'int32', [1]);
    graph.output('total', sum(a, b));
    graph.output('doubled', sum(b, b));
    return graph;
  }

  it('describes itself', async () => {
    await using program = await compile(scaledSum());
    expect([...program.inputs]).toEqual([
      ['a', { dtype: 'float32', shape: ['B', 'T', 2] }],
      ['b', { dtype: 'float32', shape: ['T', 2] }],
    ]);
    expect([...program.outputs.keys()]).toEqual(['total', 'doubled']);
    expect(program.statistics.nodes).toBe(2);
    expect(program.statistics.modelBytes).toBeGreaterThan(100);
    expect(program.statistics.creationMs).toBeGreaterThan(0);
  });

  it('gives what was asked for, at any size of its named dimensions', async () => {
    await using program = await compile(scaledSum());
    for (const [B, T] of [
      [1, 1],
      [3, 2],
      [2, 0],
    ]) {
      const a = float32([B, T, 2], new Array(B * T * 2).fill(1));
      const b = float32([T, 2], new Array(T * 2).fill(2));
      const { total } = await program.run({ a, b, unused: int32([1], [0]) }, ['total']);
      expect(total).toEqual(float32([B, T, 2], new Array(B * T * 2).fill(3)));
    }
    const b = float32([1, 2], [1, 2]);
    const both = await program.run({ a: float32([1, 1, 2], [0, 0]), b }, ['doubled', 'total']);
    expect(Object.keys(both)).toEqual(['doubled', 'total']);
    expect(both.doubled).toEqual(float32([1, 2], [2, 4]));
  });

  it('refuses outputs it does not have, and none', async () => {
    await using program = await compile(scaledSum());
    const feeds = { a: float32([1, 1, 2], [0, 0]), b: float32([1, 2], [0, 0]) };
    await expect(program.run(feeds, ['sum'])).rejects.toThrow(
      'graph "scaled sum" has no output "sum"; its outputs are "total", "doubled"',
    );
    await expect(program.run(feeds, [])).rejects.toMatchObject({ code: 'RUNTIME' });
  });

  it('refuses feeds before the engine sees them', async () => {
    await using program = await compile(scaledSum());
    await expect(program.run({ a: float32([1, 1, 2], [0, 0]) }, ['total'])).rejects.toMatchObject({
      code: 'RUNTIME',
      message: 'graph "scaled sum" needs input "b" (float32[T,2])',
    });
  });

  it('names the graph when the engine fails', async () => {
    const graph = new Graph('lookup');
    const table = graph.input('table', 'float32', [4]);
    const ids = graph.input('ids', 'int32', ['T']);
    graph.output('y', onnxOp('Gather', [table, ids], [{ dtype: 'float32', shape: ['T'] }])[0]);
    await using program = await compile(graph);
    const table4 = float32([4], [1, 2, 3, 4]);
    const failure = program.run({ table: table4, ids: int32([1], [9]) }, ['y']);
    await expect(failure).rejects.toMatchObject({ code: 'RUNTIME', cause: { name: 'Error' } });
    await expect(failure).rejects.toThrow(/^graph "lookup" failed to run: .*indices/s);
    expect((await program.run({ table: table4, ids: int32([1], [2]) }, ['y'])).y.data[0]).toBe(3);
  });

  it('refuses a tensor that no model can hold, before its elements are made', async () => {
    const graph = new Graph('vast');
    const load = vi.fn<() => Promise<Tensor<'float32'>>>();
    const rows = graph.weight('rows', { dtype: 'float32', shape: [2 ** 20, 512], load });
    graph.output('y', sum(rows, rows));
    await expect(compile(graph)).rejects.toMatchObject({ code: 'GRAPH' });
    await expect(compile(graph)).rejects.toThrow('graph "vast": the weight "rows" has 2147483648 bytes');
    expect(load).not.toHaveBeenCalled();
  });

  it('names the graph when the engine refuses it', async () => {
    const graph = new Graph('nonsense');
    graph.output('y', onnxOp('NoSuchOp', [graph.input('x', 'float32', [1])], [{ dtype: 'float32', shape: [1] }])[0]);
    const failure = compile(graph);
    await expect(failure).rejects.toMatchObject({ code: 'RUNTIME' });
    await expect(failure).rejects.toThrow(/^graph "nonsense" cannot be compiled for device "cpu": .*NoSuchOp/s);
  });

  it('is unusable after dispose, which waits for runs and may be repeated', async () => {
    const program = await compile(scaledSum());
    const feeds = { a: float32([1, 1, 2], [1, 1]), b: float32([1, 2], [1, 1]) };
    const pending = program.run(feeds, ['total']);
    await Promise.all([program.dispose(), program.dispose()]);
    expect((await pending).total).toEqual(float32([1, 1, 2], [2, 2]));
    await expect(program.run(feeds, ['total'])).rejects.toMatchObject({
      code: 'RUNTIME',
      message: 'graph "scaled sum" has been disposed, perhaps with its model; dispose of it after its last run',
    });
    await program.dispose();
  });

  it('refuses options that make no sense', async () => {
    await expect(compile(scaledSum(), { threads: 0 })).rejects.toMatchObject({ code: 'CONFIG' });
    await expect(compile(scaledSum(), { threads: 1.5 })).rejects.toMatchObject({ code: 'CONFIG' });
    // As a caller without types may do.
    const tpu: object = { device: 'tpu' };
    await expect(compile(scaledSum(), tpu)).rejects.toThrow('unknown device "tpu"');
  });

  it('gives its memory back', async () => {
    const megabytes = 32;
    const size = 1024 * 2 * megabytes;
    const makeAndDrop = async (): Promise<void> => {
      const graph = new Graph();
      const x = graph.input('x', 'float32', [1, 128]);
      const w = graph.weight('w', { dtype: 'float32', shape: [128, size], data: new Float32Array(128 * size) });
      graph.output('y', product(x, w));
      const program = await compile(graph);
      await program.run({ x: float32([1, 128], new Array(128).fill(1)) }, ['y']);
      await program.dispose();
    };
    for (let warm = 0; warm < 2; warm++) await makeAndDrop();
    const before = process.memoryUsage.rss();
    for (let time = 0; time < 10; time++) await makeAndDrop();
    const grown = (process.memoryUsage.rss() - before) / 2 ** 20;
    // Ten leaked sessions would hold ten times 32 MB.
    expect(grown).toBeLessThan(5 * megabytes);
  });
});

describe('measurements', () => {
  function chain(): Graph {
    const graph = new Graph('chain');
    let value = graph.input('x', 'float32', [64, 64]);
    for (let index = 0; index < 3; index++) value = product(value, graph.input(`w${index}`, 'float32', [64, 64]));
    graph.output('y', onnxOp('Relu', [value], [value])[0]);
    return graph;
  }
  const square = float32([64, 64], new Array(4096).fill(0.1));
  const feeds = { x: square, w0: square, w1: square, w2: square };

  it.each([false, true])('profiles ops (in a worker: %s)', async (worker) => {
    await using program = await compile(chain(), { profile: true, worker });
    for (let time = 0; time < 3; time++) await program.run(feeds, ['y']);
    const profile = await program.profile();
    expect(profile.find(({ opType }) => opType === 'MatMul')).toMatchObject({ provider: 'cpu', count: 9 });
    expect(profile.find(({ opType }) => opType === 'Relu')).toMatchObject({ provider: 'cpu', count: 3 });
    expect(profile[0].ms).toBeGreaterThan(0);
    expect(await program.profile()).toBe(profile);
    await program.run(feeds, ['y']);
  });

  it('does not profile unless asked', async () => {
    await using program = await compile(chain());
    await expect(program.profile()).rejects.toThrow('graph "chain" was compiled without "profile: true"');
  });

  it('counts nodes after the optimiser', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const twice = onnxOp('Identity', [onnxOp('Identity', [x], [x])[0]], [x])[0];
    graph.output('y', onnxOp('Relu', [twice], [x])[0]);
    expect(await countOptimizedNodes(graph)).toEqual(new Map([['Relu', 1]]));
  });
});

const webgpu = await isDeviceAvailable('webgpu');

describe('devices', () => {
  it('always has the CPU and WebAssembly', async () => {
    expect(await isDeviceAvailable('cpu')).toBe(true);
    expect(await isDeviceAvailable('wasm')).toBe(true);
  });

  async function compareWithCpu(options: CompileOptions): Promise<void> {
    const graph = new Graph('products');
    const x = graph.input('x', 'float32', ['T', 64]);
    const w = graph.weight(
      'w',
      float32(
        [64, 64],
        Array.from({ length: 4096 }, (_, index) => Math.sin(index)),
      ),
    );
    graph.output('y', product(product(x, w), w));
    const feeds = {
      x: float32(
        [3, 64],
        Array.from({ length: 192 }, (_, index) => Math.cos(index)),
      ),
    };
    await using here = await compile(graph);
    await using there = await compile(graph, options);
    const expected = dataOf((await here.run(feeds, ['y'])).y, 'float32');
    const actual = dataOf((await there.run(feeds, ['y'])).y, 'float32');
    expect(Math.max(...expected)).toBeGreaterThan(10);
    expected.forEach((value, index) => expect(actual[index]).toBeCloseTo(value, 3));
  }

  it('wasm computes what the CPU computes', () => compareWithCpu({ device: 'wasm' }));

  it('wasm cannot profile', async () => {
    await expect(compareWithCpu({ device: 'wasm', profile: true })).rejects.toMatchObject({ code: 'CONFIG' });
  });

  it.skipIf(!webgpu)('webgpu, where there is a driver, computes what the CPU computes', () =>
    compareWithCpu({ device: 'webgpu' }),
  );

  it.skipIf(!webgpu)('webgpu, where there is a driver, runs in a worker', () =>
    compareWithCpu({ device: 'webgpu', worker: true }),
  );
});

it.each(['two', '0', '1e9'])('%s threads of the environment are refused', async (given) => {
  vi.stubEnv('LINNET_THREADS', given);
  try {
    const graph = new Graph('identity');
    graph.output('y', sum(graph.input('x', 'float32', [1]), graph.input('z', 'float32', [1])));
    await expect(compile(graph)).rejects.toThrow(`LINNET_THREADS is "${given}"`);
  } finally {
    vi.unstubAllEnvs();
  }
});
