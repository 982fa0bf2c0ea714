import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { float32, tensorBytes } from '../tensor.ts';
import type { OnnxAttributes, OnnxGraph } from './model.ts';
import { AttributeProto_AttributeType, ModelProtoSchema, TensorProto_DataLocation } from './onnx_pb.ts';
import { type EncodedModel, encodeModel, oneFile, separateParts } from './writer.ts';

function graphOf(sizes: readonly number[], attributes: OnnxAttributes = {}): OnnxGraph {
  return {
    name: 'weights',
    inputs: [{ name: 'x', dtype: 'float32', shape: ['T', 4] }],
    outputs: [{ name: 'y', dtype: 'float32', shape: [] }],
    initializers: sizes.map((size, index) => ({
      name: `w${index}`,
      tensor: float32(
        [size],
        Array.from({ length: size }, (_, element) => index + element),
      ),
    })),
    nodes: [{ opType: 'Sum', domain: 'com.microsoft', inputs: ['x', ''], outputs: ['', 'y'], attributes }],
  };
}

function decode({ bytes }: EncodedModel) {
  const model = fromBinary(ModelProtoSchema, bytes);
  if (model.graph === undefined) throw new Error('the model has no graph');
  return { model, graph: model.graph };
}

describe('encoding', () => {
  it('writes versions, names and shapes', () => {
    const { model, graph } = decode(encodeModel(graphOf([2]), { producerVersion: '1.2.3' }));
    expect(model.irVersion).toBe(11n);
    expect(model.opsetImport.map(({ domain, version }) => [domain, version])).toEqual([
      ['', 23n],
      ['com.microsoft', 1n],
    ]);
    expect([model.producerName, model.producerVersion]).toEqual(['linnet', '1.2.3']);
    const type = graph.input[0].type?.value;
    if (type?.case !== 'tensorType') throw new Error('the input is not a tensor');
    expect(type.value.shape?.dim.map(({ value }) => value)).toEqual([
      { case: 'dimParam', value: 'T' },
      { case: 'dimValue', value: 4n },
    ]);
    expect(graph.node[0]).toMatchObject({
      name: 'Sum/y',
      input: ['x', ''],
      output: ['', 'y'],
      domain: 'com.microsoft',
    });
  });

  it('writes each kind of attribute with its type', () => {
    const attributes: OnnxAttributes = {
      a: { int: -7 },
      b: { float: 0.5 },
      c: { string: 'tänzer' },
      d: { ints: [1, -1] },
      e: { floats: [1, 2.5] },
      f: { ints: [] },
    };
    const { attribute } = decode(encodeModel(graphOf([], attributes))).graph.node[0];
    const type = AttributeProto_AttributeType;
    expect(attribute.map((each) => [each.name, each.type])).toEqual([
      ['a', type.INT],
      ['b', type.FLOAT],
      ['c', type.STRING],
      ['d', type.INTS],
      ['e', type.FLOATS],
      ['f', type.INTS],
    ]);
    expect(attribute[0].i).toBe(-7n);
    expect(attribute[1].f).toBe(0.5);
    expect(new TextDecoder().decode(attribute[2].s)).toBe('tänzer');
    expect(attribute[3].ints).toEqual([1n, -1n]);
    expect(attribute[4].floats).toEqual([1, 2.5]);
  });

  it('refuses an integer attribute that is none', () => {
    expect(() => encodeModel(graphOf([], { axis: { int: 1.5 } }))).toThrow(
      'Sum: attribute axis is 1.5, not an integer',
    );
  });

  it('keeps initializers inside by default', () => {
    const encoded = encodeModel(graphOf([1000]));
    expect(encoded.external).toEqual([]);
    expect(decode(encoded).graph.initializer[0].rawData.byteLength).toBe(4000);
  });

  it('puts large ones into one aligned file', () => {
    const graph = graphOf([300, 10, 20_000, 300, 20_000]);
    const encoded = encodeModel(graph, { placement: oneFile('weights.data', 1000) });
    expect(encoded.external.map(({ path, offset, data }) => [path, offset, data.byteLength])).toEqual([
      ['weights.data', 0, 1200],
      ['weights.data', 4096, 80_000],
      ['weights.data', 84_096, 1200],
      ['weights.data', 86_016, 80_000],
    ]);
    const { initializer } = decode(encoded).graph;
    expect(initializer[1].rawData).toEqual(tensorBytes(graph.initializers[1].tensor));
    expect(initializer[2].dataLocation).toBe(TensorProto_DataLocation.EXTERNAL);
    expect(Object.fromEntries(initializer[2].externalData.map(({ key, value }) => [key, value]))).toEqual({
      location: 'weights.data',
      offset: '4096',
      length: '80000',
    });
  });

  it('keeps them inside below the threshold', () => {
    expect(encodeModel(graphOf([300]), { placement: oneFile('weights.data', 1200) }).external).toEqual([]);
  });

  it('shares the memory of separate parts', () => {
    const graph = graphOf([300, 10, 300]);
    const { external } = encodeModel(graph, { placement: separateParts });
    expect(external.map(({ path }) => path)).toEqual(['part-0', 'part-1']);
    expect(external[1].data.buffer).toBe(graph.initializers[2].tensor.data.buffer);
  });
});
