import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { publishedShape } from '../models/presets/presets.ts';
import type { CausalModel } from '../models/model.ts';
import { causalObjective } from './objectives/next-token.ts';
import { memoryLimit } from './plans/options.ts';
import { type TrainingInput, parseTrainingSettings } from './settings.ts';
import { fitStep, type PlannedJob, requireMemory, stepCost } from './step-cost.ts';

function job(model: CausalModel, input: TrainingInput, trainable?: PlannedJob['trainable']): PlannedJob {
  const settings = parseTrainingSettings(input);
  return { model, objective: causalObjective(model, settings.length), parameters: new Map(), settings, trainable };
}

const gib = 2 ** 30;

describe('the memory of an optimizer step', () => {
  const model = describeCausalModel({ ...publishedShape('qwen2.5-0.5b'), num_hidden_layers: 4 });
  const isMixers = (name: string): boolean => name.includes('self_attn');

  it('has weights, the training of those that are trained, and results of one micro-batch', () => {
    const all = stepCost(job(model, { batch: 1, length: 128 }));
    const some = stepCost(job(model, { batch: 1, length: 128 }, isMixers));
    const weights = [...model.parameters.values()].reduce(
      (sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b),
      0,
    );
    expect(all.weightBytes / weights).toBeCloseTo(1, 2);
    expect(some.weightBytes / weights).toBeCloseTo(1, 2);
    const summed = stepCost(job(model, { batch: 4, microBatch: 1, length: 128 }));
    expect(summed.weightBytes).toBe(all.weightBytes);
    expect([all, summed].map(({ trainingBytes }) => trainingBytes)).toEqual([3 * weights, 4 * weights]);
    expect(some.trainingBytes).toBeLessThan(weights / 4);
    expect(all.bytes).toBeGreaterThan(4 * weights);
  });

  it('takes fewer rows at once where many do not fit, or are of no use', () => {
    const given = job(model, { batch: 8, length: 128 }, isMixers);
    const fitted = fitStep(given, 64 * gib);
    const tight = fitStep(given, fitted.cost.bytes - 1);
    expect(fitted.cost.microBatch).toBe(8);
    expect(tight.cost.microBatch).toBeLessThan(8);
    expect(tight.settings.microBatch).toBe(tight.cost.microBatch);
    expect(tight.cost.operations / fitted.cost.operations).toBeCloseTo(1, 5);
    expect(fitStep(job(model, { batch: 8, microBatch: 4, length: 128 }), gib).cost.microBatch).toBe(4);
  });

  it('over the limit is refused, with what fits', () => {
    const { cost, settings } = fitStep(job(model, { batch: 1, length: 2048 }), 2 * gib);
    expect(() => requireMemory(cost, settings, 2 * gib)).toThrow(
      /a step of 1 × 2,048 tokens takes about .* GiB .*the limit is 2 GiB\. What fits: .*`lora`.*`memory` of at least/,
    );
    const adapted = fitStep(job(model, { batch: 1, length: 2048 }, isMixers), 2 * gib);
    expect(() => requireMemory(adapted.cost, adapted.settings, 2 * gib)).toThrow(/What fits: `length` \d+/);
    expect(() => requireMemory(cost, settings, cost.bytes)).not.toThrow();
  });

  it('of tiny models is little more than the process', () => {
    const tiny = describeCausalModel(tinyConfig('llama'));
    expect(stepCost(job(tiny, { batch: 1, length: 16 })).bytes).toBeLessThan(0.3 * gib);
  });
});

it('a limit is a size, or three quarters of what is available', () => {
  expect([memoryLimit('8GiB'), memoryLimit('512mib'), memoryLimit('1.5GiB')]).toEqual([8 * gib, gib / 2, 1.5 * gib]);
  expect(memoryLimit(undefined)).toBeGreaterThan(0);
});
