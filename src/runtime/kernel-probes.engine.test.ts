import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it, vi } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { Graph } from '../graph/graph.ts';
import { ModelProtoSchema, TensorProto_DataType } from '../graph/onnx/onnx_pb.ts';
import { integerMatmul, quantizeRows } from '../graph/ops/quantized.ts';
import { dataOf, elementCount, float32, type Tensor, tensor } from '../graph/tensor.ts';
import { compile } from './compile.ts';
import { encodeGraph } from './encoded-graph.ts';
import { needsUnsignedWeights, openSession } from './engine.ts';
import { addsInOrder, askedOnce, pairsSaturate } from './kernel-probes.ts';
import { type Program, programOf } from './program.ts';
import { openSessionOf } from './session.ts';
import type { DescribedSession, EngineModel } from './session-types.ts';

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

const [K, N] = [32, 4];
const native = () => import('onnxruntime-node');

/** A graph in a session that `open` opens. */
async function opened(graph: Graph, open: (model: EngineModel) => Promise<DescribedSession>): Promise<Program> {
  return programOf(graph.name, await open(await encoded(graph)), { nodes: 0, modelBytes: 0, creationMs: 0 });
}

function ones(...shape: readonly number[]): Tensor {
  return float32(shape, new Float32Array(elementCount(shape)).fill(1));
}

/** A product of rows in 8 bits by the largest weights: where pairs saturate, it is too small. */
function integerProduct(): Graph {
  const graph = new Graph('integer product');
  const weights = graph.constant(tensor('int8', [K, N], new Int8Array(K * N).fill(127)));
  const rows = quantizeRows(graph.input('x', 'float32', ['rows', K]));
  graph.output('y', integerMatmul(rows, weights, graph.constant(ones(N))));
  return graph;
}

async function encoded(graph: Graph): Promise<EngineModel> {
  return (await encodeGraph(graph, 'cpu')).stored.model;
}

async function floatModel(): Promise<EngineModel> {
  const graph = new Graph('no product');
  graph.output('y', graph.input('x', 'float32', [2]));
  return encoded(graph);
}

describe('saturation of pairs', () => {
  it('agrees with a product that is opened without the option', async () => {
    const open = (model: EngineModel) => openSessionOf({ provider: 'cpu', load: native }, model, { device: 'cpu' });
    const saturates = await pairsSaturate((graph) => opened(graph, open));
    const session = await open(await encoded(integerProduct()));
    const { y } = await session.run({ x: ones(1, K) }, ['y']);
    await session.dispose();
    expect(dataOf(y, 'float32').every((value) => value === 127 * K)).toBe(!saturates);
  });

  it('sees none on WebAssembly', async () => {
    expect(await pairsSaturate((graph) => opened(graph, (model) => openSession(model, { device: 'wasm' })))).toBe(
      false,
    );
  });

  it('takes a sum that is too small for saturation', async () => {
    const graph = new Graph('saturated');
    const codes = graph.input('codes', 'uint8', [2, 32]);
    const weights = graph.constant(tensor('int8', [32, 16], new Int8Array(32 * 16).fill(64)));
    const [scales, weightScales] = [ones(2, 1), ones(16)].map((tensor) => graph.constant(tensor));
    graph.output('product', integerMatmul({ codes, scales }, weights, weightScales));
    const saturated = await encoded(graph);
    const other = (graph: Graph) => opened(graph, () => openSession(saturated, { device: 'cpu' }));
    expect(await pairsSaturate(other)).toBe(true);
  });
});

describe('unsigned weights', () => {
  it('are asked for where the probe saw saturation, which it looks for once', async () => {
    const product = await encoded(integerProduct());
    for (const saturates of [true, false]) {
      const probe = vi.fn(async () => saturates);
      const once = askedOnce(probe);
      const asked = (model: EngineModel) => needsUnsignedWeights(model, () => once('cpu', compile));
      expect(await asked(await floatModel())).toBe(false);
      expect(probe).not.toHaveBeenCalled();
      expect(await Promise.all([1, 2].map(() => asked(product)))).toEqual([saturates, saturates]);
      expect(probe).toHaveBeenCalledOnce();
    }
  });

  it.skipIf(process.arch !== 'x64').each([
    { unsigned: true, type: TensorProto_DataType.UINT8 },
    { unsigned: false, type: TensorProto_DataType.INT8 },
  ])('reach the engine: $unsigned', async ({ unsigned, type }) => {
    const optimizedModelPath = join(await scratchFolder(), 'model.onnx');
    const build = { provider: 'cpu', load: native, needsUnsignedWeights: async () => unsigned };
    const session = await openSessionOf(build, await encoded(integerProduct()), { device: 'cpu', optimizedModelPath });
    await session.dispose();
    const { graph } = fromBinary(ModelProtoSchema, await readFile(optimizedModelPath));
    expect(graph?.initializer.find(({ dims }) => dims.length === 2 && Number(dims[0]) === K)?.dataType).toBe(type);
  });

  it.each([false, true])('products are exact, in a worker: %s', async (worker) => {
    await using program = await compile(integerProduct(), { worker });
    const { y } = await program.run({ x: ones(1, K) }, ['y']);
    expect(y.data).toEqual(new Float32Array(N).fill(127 * K));
  });
});
