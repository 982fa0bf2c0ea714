import { describe, expect, it } from 'vitest';
import { onnxOp, product, sum } from '../../../test/graph/onnx-op.ts';
import { defineOp, Graph } from '../graph.ts';
import { float32, int32 } from '../tensor.ts';
import { lowerGraph } from './lowering.ts';

const type = { dtype: 'float32', shape: [2] } as const;

describe('lowering', () => {
  it('keeps the names of inputs, weights and outputs', () => {
    const graph = new Graph('small');
    const x = graph.input('x', 'float32', ['T', 2]);
    const hidden = product(x, graph.weight('w', float32([2, 2], [1, 2, 3, 4])));
    graph.output('y', sum(hidden, x));
    const lowered = lowerGraph(graph, 'cpu');
    expect(lowered.name).toBe('small');
    expect(lowered.inputs).toEqual([{ name: 'x', dtype: 'float32', shape: ['T', 2] }]);
    expect(lowered.outputs).toEqual([{ name: 'y', dtype: 'float32', shape: ['T', 2] }]);
    expect(lowered.initializers.map(({ name }) => name)).toEqual(['w']);
    const [first, second] = lowered.nodes;
    expect(first).toMatchObject({ opType: 'MatMul', inputs: ['x', 'w'] });
    expect(second).toMatchObject({ opType: 'Add', inputs: [first.outputs[0], 'x'], outputs: ['y'] });
  });

  it('leaves out what no output depends on', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const dead = graph.input('dead', 'float32', [2]);
    sum(dead, graph.weight('unused', float32([2], [1, 2])));
    graph.output('y', sum(x, x));
    const lowered = lowerGraph(graph, 'cpu');
    expect(lowered.inputs.map(({ name }) => name)).toEqual(['x']);
    expect(lowered.initializers).toEqual([]);
    expect(lowered.nodes).toHaveLength(1);
  });

  it('shares equal small constants, but not across dtypes, shapes or signs of zero', () => {
    const graph = new Graph();
    let value = graph.input('x', 'float32', [1]);
    const constants = [float32([1], [0]), float32([1], [0]), float32([1], [-0]), float32([], [0]), int32([1], [0])];
    for (const tensor of constants) value = sum(value, graph.constant(tensor));
    graph.output('y', value);
    expect(lowerGraph(graph, 'cpu').initializers.map(({ tensor }) => tensor)).toEqual([
      constants[0],
      constants[2],
      constants[3],
      constants[4],
    ]);
  });

  it('shares large constants by identity', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2048]);
    const large = float32([2048], new Array(2048).fill(1));
    const twice = sum(sum(x, graph.constant(large)), graph.constant(large));
    graph.output('y', sum(twice, graph.constant(float32([2048], large.data))));
    expect(lowerGraph(graph, 'cpu').initializers).toHaveLength(2);
  });

  it('copies outputs that are inputs, weights, constants or outputs already', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const doubled = sum(x, x);
    graph.output('first', doubled);
    graph.output('second', doubled);
    graph.output('input', x);
    graph.output('weight', graph.weight('w', float32([2], [1, 2])));
    graph.output('constant', graph.constant(float32([1], [3])));
    const { nodes } = lowerGraph(graph, 'cpu');
    expect(nodes.map(({ opType }) => opType)).toEqual(['Add', 'Identity', 'Identity', 'Identity', 'Identity']);
    expect(nodes.flatMap(({ outputs }) => outputs)).toEqual(['first', 'second', 'input', 'weight', 'constant']);
  });

  it('does not collide with names that look like its own', () => {
    const graph = new Graph();
    const x = graph.input('v0', 'float32', [2]);
    const w = graph.weight('c1', float32([2], [1, 2]));
    graph.output('v2', sum(sum(sum(x, w), graph.constant(float32([2], [3, 4]))), x));
    const { nodes, initializers } = lowerGraph(graph, 'cpu');
    const written = [...nodes.flatMap(({ outputs }) => outputs), ...initializers.map(({ name }) => name), 'v0'];
    expect(new Set(written).size).toBe(written.length);
  });

  it('refuses graphs without outputs and outputs named like inputs', () => {
    const graph = new Graph('empty');
    expect(() => lowerGraph(graph, 'cpu')).toThrow('graph "empty" has no outputs');
    const x = graph.input('x', 'float32', [2]);
    graph.output('x', sum(x, x));
    expect(() => lowerGraph(graph, 'cpu')).toThrow('output "x" of graph "empty" is named like an input or a weight');
  });

  it('tells an op that reads what is not there, or forgets to write', () => {
    const broken = (lower: Parameters<typeof defineOp>[0]['lower']): Graph => {
      const graph = new Graph();
      const op = defineOp({ name: 'broken', infer: () => [type], lower, gradient: { notDifferentiable: 'test' } });
      graph.output('y', op.apply([graph.input('x', 'float32', [2])], {})[0]);
      return graph;
    };
    const reading = broken((emitter, node) => emitter.emit('Relu', ['nowhere'], node.outputs));
    expect(() => lowerGraph(reading, 'cpu')).toThrow('internal: Relu reads "nowhere" before any node writes it');
    const forgetting = broken(() => undefined);
    expect(() => lowerGraph(forgetting, 'cpu')).toThrow('internal: no node writes output "y"');
    const repeating = broken((emitter, node) => {
      for (let time = 0; time < 2; time++) {
        emitter.emit('Relu', node.inputs, node.outputs);
      }
    });
    expect(() => lowerGraph(repeating, 'cpu')).toThrow('internal: Relu writes "y" a second time');
  });

  it('gives lowerings the device and temporary names', () => {
    const graph = new Graph();
    const seen: string[] = [];
    const op = defineOp({
      name: 'twoSteps',
      infer: () => [type],
      lower: (emitter, node) => {
        const between = emitter.step('Neg', node.inputs);
        seen.push(emitter.device, between);
        emitter.emit('Relu', [between], node.outputs);
      },
      gradient: { notDifferentiable: 'test' },
    });
    graph.output('y', op.apply([graph.input('x', 'float32', [2])], {})[0]);
    const { nodes } = lowerGraph(graph, 'webgpu');
    expect(seen).toEqual(['webgpu', nodes[0].outputs[0]]);
  });

  it('leaves unread outputs of a node with several a name', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [4]);
    const half = { dtype: 'float32', shape: [2] } as const;
    const [, second] = onnxOp('Split', [x], [half, half], { attributes: { num_outputs: { int: 2 } } });
    graph.output('y', second);
    const [split] = lowerGraph(graph, 'cpu').nodes;
    expect(split.outputs).toHaveLength(2);
    expect(split.outputs[1]).toBe('y');
  });
});
