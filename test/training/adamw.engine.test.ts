import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from '../parity/golden.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { matmul } from '../../src/graph/ops/contraction.ts';
import { add, mul, sub, tanh } from '../../src/graph/ops/elementwise.ts';
import { mean } from '../../src/graph/ops/reduce.ts';
import { float32, type Tensor, zeros } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { adamW, adamWFeeds, clipByNorm, declareAdamWInputs, globalNorm } from '../../src/training/adamw.ts';

const names = ['w1', 'b1', 'w2', 'b2'] as const;

const configSchema = z.object({
  steps: z.int(),
  betas: z.tuple([z.number(), z.number()]),
  eps: z.number(),
  weight_decay: z.number(),
  weight_decay_excluded: z.array(z.string()).optional(),
  clip_grad_norm: z.number(),
  recorded_after_steps: z.array(z.int()),
});

/** The regression of the golden cases: mean (tanh(x w1 + b1) w2 + b2 − y)², trained for 20 full-batch steps. */
describe.each(['adamw_uniform', 'adamw_two_groups'])('%s', (name) => {
  it('has the losses, gradient norms, parameters and moments of PyTorch', async () => {
    const config = goldenConfig(name, configSchema);
    const io = readGolden(name);
    const initial = (key: string): Tensor => {
      const { shape, data } = goldenTensor(io, key);
      return float32(shape, data);
    };
    const optimizer = {
      beta1: config.betas[0],
      beta2: config.betas[1],
      epsilon: config.eps,
      weightDecay: config.weight_decay,
    };
    const graph = new Graph(name);
    const shapes = Object.fromEntries(names.map((key) => [key, goldenTensor(io, `init.${key}`).shape]));
    const [w1, b1, w2, b2] = names.map((key) => graph.input(key, 'float32', shapes[key]));
    const x = graph.constant(initial('x'));
    const error = sub(add(matmul(tanh(add(matmul(x, w1), b1)), w2), b2), graph.constant(initial('y')));
    const loss = mean(mul(error, error), [0, 1]);
    const found = gradients(loss, [w1, b1, w2, b2]);
    const norm = globalNorm(found);
    const clipped = clipByNorm(found, norm, config.clip_grad_norm);
    const inputs = declareAdamWInputs(graph);
    graph.output('loss', loss);
    graph.output('norm', norm);
    [w1, b1, w2, b2].forEach((parameter, i) => {
      const key = names[i];
      const moments = {
        first: graph.input(`m.${key}`, 'float32', shapes[key]),
        second: graph.input(`v.${key}`, 'float32', shapes[key]),
      };
      const decayed = !(config.weight_decay_excluded ?? []).includes(key);
      const next = adamW(optimizer, inputs, parameter, clipped[i], moments, decayed);
      graph.output(`new ${key}`, next.parameter);
      graph.output(`new m.${key}`, next.moments.first);
      graph.output(`new v.${key}`, next.moments.second);
    });
    const program = await compile(graph);
    const state: Record<string, Tensor> = {};
    for (const key of names) {
      state[key] = initial(`init.${key}`);
      state[`m.${key}`] = zeros('float32', shapes[key]);
      state[`v.${key}`] = zeros('float32', shapes[key]);
    }
    const rates = goldenNumbers(io, 'lr64');
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 1; step <= config.steps; step++) {
      const results = await program.run({ ...state, ...adamWFeeds(optimizer, rates[step - 1], step - 1) }, [
        ...program.outputs.keys(),
      ]);
      losses.push(Number(results.loss.data[0]));
      norms.push(Number(results.norm.data[0]));
      for (const key of Object.keys(state)) state[key] = results[`new ${key}`];
      if (!config.recorded_after_steps.includes(step)) continue;
      for (const key of names) {
        const close = (value: Tensor, golden: string, tolerance: number): void => {
          const error = relativeToPeak(Float64Array.from(value.data, Number), goldenNumbers(io, golden));
          expect(error, `${golden} after step ${step}`).toBeLessThan(tolerance);
        };
        close(state[key], `step${step}.param.${key}.64`, 2e-5);
        close(state[`m.${key}`], `step${step}.m.${key}.64`, 2e-4);
        close(state[`v.${key}`], `step${step}.v.${key}.64`, 2e-4);
      }
    }
    await program.dispose();
    expect(relativeToPeak(Float64Array.from(losses), goldenNumbers(io, 'loss64'))).toBeLessThan(2e-5);
    expect(relativeToPeak(Float64Array.from(norms), goldenNumbers(io, 'grad_norm64'))).toBeLessThan(2e-5);
  });
});

describe('globalNorm', () => {
  it('loses nothing of a million squares', async () => {
    const random = new Random(1);
    const data = Float32Array.from({ length: 2 ** 20 }, () => 1e-7 * random.normal() * Math.exp(random.normal()));
    const graph = new Graph('norm');
    graph.output('norm', globalNorm([graph.input('gradient', 'float32', [1024, 1024])]));
    await using program = await compile(graph);
    const { norm } = await program.run({ gradient: float32([1024, 1024], data) }, ['norm']);
    const exact = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0));
    expect(Math.abs(Number(norm.data[0]) / exact - 1)).toBeLessThan(3e-7);
  });
});
