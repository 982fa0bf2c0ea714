/** Parameters out of an exported folder's graphs: those of the model, bit for bit, and nothing from elsewhere. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { beforeAll, describe, expect, it } from 'vitest';
import { exportedParameters, type GraphFile } from '../../src/export/exported-parameters.ts';
import { type ModelProto, ModelProtoSchema, type TensorProto } from '../../src/graph/onnx/onnx_pb.ts';
import { errorCode } from '../error-code.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { augmentedTinyLlama, type ModelWithWeights, writeExportedModel } from './exported-model.ts';

describe('exportedParameters', () => {
  const folder = suiteFolder();
  let subject: ModelWithWeights;
  let graph: GraphFile;

  beforeAll(async () => {
    subject = await augmentedTinyLlama();
    await writeExportedModel(join(folder, 'f32'), subject, { dtype: 'f32' });
    await writeExportedModel(join(folder, 'w8a8'), subject, { dtype: 'w8a8' });
    graph = await graphOf('f32');
  });

  async function graphOf(dtype: string): Promise<GraphFile> {
    const read = (name: string): Promise<Uint8Array> => readFile(join(folder, dtype, name));
    const data = { name: 'model.onnx.data', bytes: await read('model.onnx.data').catch(() => new Uint8Array(0)) };
    return { name: 'model.onnx', bytes: await read('model.onnx'), data };
  }

  /** The graph with something else in it. */
  function changed(change: (weight: TensorProto, model: ModelProto) => void): GraphFile {
    const model = fromBinary(ModelProtoSchema, graph.bytes);
    const weight = model.graph?.initializer.find(({ name }) => name === 'model.embed_tokens.weight');
    if (weight === undefined) throw new Error('the graph has no embedding');
    change(weight, model);
    return { ...graph, bytes: toBinary(ModelProtoSchema, model) };
  }

  it('are those of the model, whose bytes may go', () => {
    const found = exportedParameters(subject.model, [graph]);
    expect([...found.keys()]).toEqual([...subject.model.parameters.keys()]);
    for (const [name, { shape, data }] of found) {
      const expected = subject.parameters.get(name);
      expect(shape, name).toEqual(expected?.shape);
      expect(data, name).toEqual(expected?.data);
      expect(data.buffer).not.toBe(graph.data?.bytes.buffer);
    }
  });

  it('are not in an export of fewer bits', async () => {
    const fewer = await graphOf('w8a8');
    expect(await errorCode(() => exportedParameters(subject.model, [fewer]))).toBe('CONFIG');
  });

  const places: readonly [string, (weight: TensorProto, model: ModelProto) => void][] = [
    ['another shape', (weight) => weight.dims.reverse()],
    ['another type', (weight) => void (weight.dataType = 10)],
    ['a place behind the end', (weight) => void (entry(weight, 'offset').value = '4222900')],
    ['a place before the beginning', (weight) => void (entry(weight, 'offset').value = '-4')],
    ['a place that is no number', (weight) => void (entry(weight, 'offset').value = 'x')],
    ['another file', (weight) => void (entry(weight, 'location').value = '../secret')],
    ['no bytes', (weight) => void (weight.dataLocation = 0)],
  ];
  it.each(places)('are refused with %s', async (_, change) => {
    expect(await errorCode(() => exportedParameters(subject.model, [changed(change)]))).toBe('FORMAT');
  });

  it('are refused from what is no graph', async () => {
    const bytes = Uint8Array.from({ length: 64 }, () => 255);
    expect(await errorCode(() => exportedParameters(subject.model, [{ ...graph, bytes }]))).toBe('FORMAT');
  });
});

function entry({ externalData }: TensorProto, key: string) {
  const found = externalData.find((other) => other.key === key);
  if (found === undefined) throw new Error(`the weight has no ${key}`);
  return found;
}
