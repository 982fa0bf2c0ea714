/** The next-token loss of tiny models of many families, its gradients by a whole graph, and their comparison with another way's. */
import { expect } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { Random } from '../../src/random.ts';
import { nextTokenLoss } from '../../src/training/objectives/next-token.ts';
import { tinyConfig } from '../models/tiny-model.ts';

const [B, n] = [2, 24];

export const lossFamilies = [
  ...['llama', 'gpt2', 'flash', 'lfm2', 'gemma3_text', 'qwen3_5_text', 'granitemoehybrid', 'falcon_h1', 'smollm3'],
  ...['olmo_hybrid', 'mistral', 'qwen3'],
];

export function lossModel(family: string): CausalModel {
  const plain = describeCausalModel(tinyConfig(family));
  return family === 'llama' ? plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 8 }))) : plain;
}

/** `loss` of rows of `length` tokens, and the parameters of its graph. */
export function lossGraph(model: CausalModel, length = n): { graph: Graph; loss: Value; source: InputParameters } {
  const graph = new Graph('loss');
  const source = new InputParameters(graph);
  const tokens = (name: string) => graph.input(name, 'int32', [B, length]);
  const weights = graph.input('weights', 'float32', [B, length]);
  const loss = nextTokenLoss(model, source, { inputs: tokens('inputs'), labels: tokens('labels'), weights });
  graph.output('loss', loss);
  return { graph, loss, source };
}

/** The name of the output of `gradientGraph` for a parameter. */
export function gradientName(parameter: string): string {
  return `d ${parameter}`;
}

/** `loss` and the gradients of all parameters. */
export function gradientGraph(model: CausalModel, length = n): Graph {
  const { graph, loss, source } = lossGraph(model, length);
  const names = [...source.values.keys()];
  gradients(loss, [...source.values.values()]).forEach((gradient, i) => {
    graph.output(gradientName(names[i]), gradient);
  });
  return graph;
}

/** Random tokens of weight 1. */
export function lossBatch({ sizes: { vocabulary } }: CausalModel): Record<string, Tensor> {
  const random = new Random(2);
  const tokens = () => int32([B, n], random.integers(B * n, vocabulary));
  return { inputs: tokens(), labels: tokens(), weights: float32([B, n], new Array<number>(B * n).fill(1)) };
}

/** Numbers that differ by at most 1e-5 of the largest. */
export function expectClose(value: Tensor, expected: Tensor, name: string): void {
  const [data, wanted] = [dataOf(value, 'float32'), dataOf(expected, 'float32')];
  const most = wanted.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  const error = wanted.reduce((largest, x, i) => Math.max(largest, Math.abs(x - data[i])), 0);
  expect(error, name).toBeLessThan(1e-5 * most + 1e-9);
}
