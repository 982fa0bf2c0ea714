import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession, Tensor as EngineTensor } from 'onnxruntime-node';
import { beforeEach, describe, expect, it } from 'vitest';
import { product } from '../../test/graph/onnx-op.ts';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { Graph } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { OnnxGraph } from '../graph/onnx/model.ts';
import { float32 } from '../graph/tensor.ts';
import { writeOnnxModel } from './onnx-model.ts';

let folder: string;
beforeEach(async () => {
  folder = await scratchFolder();
});

/** y = x · w0 · w1 with w0 = 2 and w1 = 3 on the diagonal. */
function scaling(): OnnxGraph {
  const graph = new Graph('scaling');
  const diagonal = (value: number) =>
    float32(
      [64, 64],
      Array.from({ length: 4096 }, (_, index) => (index % 65 === 0 ? value : 0)),
    );
  const x = graph.input('x', 'float32', ['T', 64]);
  graph.output('y', product(product(x, graph.weight('w0', diagonal(2))), graph.weight('w1', diagonal(3))));
  return lowerGraph(graph, 'cpu');
}

/** Opens the file as any user of ONNX Runtime would. */
async function runFile(dir: string): Promise<number[]> {
  const session = await InferenceSession.create(join(dir, 'model.onnx'));
  const ones = new EngineTensor('float32', new Float32Array(64).fill(1), [1, 64]);
  const { y } = await session.run({ x: ones });
  await session.release();
  return [...(await y.getData())].map(Number);
}

describe('ONNX models on disk', () => {
  it('are one file while they are small', async () => {
    expect(await writeOnnxModel(join(folder, 'new'), scaling())).toEqual(['model.onnx']);
    expect(await readdir(join(folder, 'new'))).toEqual(['model.onnx']);
    expect(await runFile(join(folder, 'new'))).toEqual(new Array(64).fill(6));
  });

  it('keep large weights in a file next to them', async () => {
    expect(await writeOnnxModel(folder, scaling(), { inlineBytes: 20_000 })).toEqual(['model.onnx', 'model.onnx.data']);
    expect((await stat(join(folder, 'model.onnx.data'))).size).toBe(2 * 16_384);
    expect((await stat(join(folder, 'model.onnx'))).size).toBeLessThan(1000);
    expect(await runFile(folder)).toEqual(new Array(64).fill(6));
  });

  it('replace older ones, and leave no weights behind', async () => {
    await writeOnnxModel(folder, scaling(), { inlineBytes: 0 });
    await writeOnnxModel(folder, scaling(), { inlineBytes: 0 });
    expect((await readdir(folder)).sort()).toEqual(['model.onnx', 'model.onnx.data']);
    await writeOnnxModel(folder, scaling());
    expect(await readdir(folder)).toEqual(['model.onnx']);
    expect(await runFile(folder)).toEqual(new Array(64).fill(6));
  });

  it('cannot go below a file', async () => {
    await writeOnnxModel(folder, scaling());
    await expect(writeOnnxModel(join(folder, 'model.onnx', 'below'), scaling())).rejects.toMatchObject({
      code: 'PATH',
    });
  });
});
