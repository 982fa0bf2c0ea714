/** Every mixer can be trained: in a whole model, one step against the gradient lowers the loss. */
import { expect, it } from 'vitest';
import { mixerParameters } from '../../src/attention/mixers.ts';
import { mixerPreset, mixerPresetNames, takenOptions } from '../../src/attention/presets.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { crossEntropy } from '../../src/graph/ops/normalization.ts';
import { mean } from '../../src/graph/ops/reduce.ts';
import { dataOf, float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { parallelLogits } from '../../src/models/graphs/parallel-graph.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { compile } from '../../src/runtime/compile.ts';
import { randomParameters, randomTokens, tinyLlama } from './tiny-llama.ts';

const length = 21;
const sizes = { group: 8, kernel: 5, features: 16, hashes: 8, bits: 3, rows: 4, block: 8, length: 128 };
const names = mixerPresetNames().filter((name) => name !== 'softmax');

it.each(names)('%s with a convolution', async (name) => {
  const mixer = mixerPreset(name, { ...takenOptions(name, sizes), convolution: true });
  const model = tinyLlama([mixer, mixer]);
  const graph = new Graph('training');
  const source = new InputParameters(graph);
  const tokens = randomTokens(model, 2 * length, 4);
  const inputs = graph.constant(int32([2, length], tokens));
  const labels = graph.constant(int32([2, length], [...tokens].reverse()));
  const loss = mean(crossEntropy(parallelLogits(model, source, inputs), labels), [0, 1]);
  graph.output('loss', loss);
  const declared = [...source.values];
  gradients(
    loss,
    declared.map(([, value]) => value),
  ).forEach((gradient, i) => {
    graph.output(`d ${declared[i][0]}`, gradient);
  });
  await using program = await compile(graph);
  const parameters = randomParameters(model, 3);
  const outputs = ['loss', ...declared.map(([parameter]) => `d ${parameter}`)];
  const run = (values: ReadonlyMap<string, Tensor>): Promise<Record<string, Tensor>> =>
    program.run(
      Object.fromEntries(declared.map(([parameter]) => [parameter, values.get(parameter) ?? float32([0], [])])),
      outputs,
    );

  const before = await run(parameters);
  const moved = new Map<string, Tensor>();
  for (const [parameter] of declared) {
    const gradient = dataOf(before[`d ${parameter}`], 'float32');
    expect(gradient.every(Number.isFinite), parameter).toBe(true);
    const old = parameters.get(parameter);
    if (old === undefined) throw new Error(`no parameter ${parameter}`);
    const values = dataOf(old, 'float32').map((x, i) => x - 0.02 * gradient[i]);
    moved.set(parameter, float32(old.shape, values));
  }
  const after = await run(moved);
  expect(Number(after.loss.data[0])).toBeLessThan(Number(before.loss.data[0]));
  for (const { name: own } of mixerParameters(mixer, model.sizes)) {
    const gradient = before[`d ${model.attentionPrefix(0)}.${own}`];
    expect(Math.max(...dataOf(gradient, 'float32').map(Math.abs)), own).toBeGreaterThan(0);
  }
});
