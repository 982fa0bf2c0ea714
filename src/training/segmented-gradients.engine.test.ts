/** Training layer by layer: losses, gradients and parameters of whole graphs, from the weights of one layer at a time. */
import { describe, expect, it } from 'vitest';
import { songRows } from '../../test/cli/text-data.ts';
import { largestChange } from '../../test/models/parameter-change.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { scratchFolder } from '../../test/scratch-folder.ts';
import {
  expectClose,
  gradientGraph,
  gradientName,
  lossBatch,
  lossFamilies,
  lossGraph,
  lossModel,
} from '../../test/training/loss-gradients.ts';
import type { Tensor } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { loraOf, parseLoraChoice, trainLora } from './lora.ts';
import { causalObjective } from './objectives/next-token.ts';
import { compileSegmentedGradients, segmentedGradientsCost } from './segmented-gradients.ts';
import { type TrainingInput, parseTrainingSettings } from './settings.ts';
import { type TrainingJob, train } from './trainer.ts';

describe.each(lossFamilies)('%s', (family) => {
  const model = lossModel(family);

  it('has the loss and the gradients of the whole graph', async () => {
    const batch = lossBatch(model);
    const parameters = initializeParameters(model, new Random(1), 0.3);
    await using whole = await compile(gradientGraph(model));
    const expected = await whole.run({ ...Object.fromEntries(parameters), ...batch }, [...whole.outputs.keys()]);
    const { graph, source } = lossGraph(model);
    // Odd parameters are frozen, and read.
    const trained = new Set([...source.values.keys()].filter((_, i) => i % 2 === 0));
    const frozen = new Map([...parameters].filter(([name]) => !trained.has(name)));
    await using segmented = await compileSegmentedGradients(graph, trained, frozen, compile);
    const own = Object.fromEntries([...parameters].filter(([name]) => trained.has(name)));
    const result = await segmented.gradients([{ ...own, ...batch }]);
    expect(Math.abs(result.loss / Number(expected.loss.data[0]) - 1)).toBeLessThan(1e-6);
    expect([...result.gradients.keys()].sort()).toEqual([...trained].sort());
    for (const [name, gradient] of result.gradients) expectClose(gradient, expected[gradientName(name)], name);
  });
});

const llama = describeCausalModel(tinyConfig('llama'));
const parameters = initializeParameters(llama, new Random(3), 0.2);

/** Low-rank updates and the norms of a model; in layers, all else is read. */
async function job(inLayers: boolean, input: TrainingInput = {}, extra: Partial<TrainingJob> = {}) {
  const settings = parseTrainingSettings({
    batch: 4,
    microBatch: 2,
    length: 20,
    steps: 6,
    learningRate: 1e-2,
    clip: 0.5,
    ...input,
  });
  const base: TrainingJob = {
    model: llama,
    objective: causalObjective(llama, 20),
    parameters,
    dataset: await songRows(),
    settings,
    ...extra,
  };
  const norms = new Set([...llama.parameters.keys()].filter((name) => name.includes('norm')));
  const whole = trainLora(base, loraOf(llama, parseLoraChoice('r=2,targets=q,k,v,o')), norms, 5);
  if (!inLayers) return whole;
  const trained = new Map([...whole.parameters].filter(([name]) => whole.trainable?.(name)));
  return { ...whole, parameters: trained, weights: new Map([...parameters].filter(([name]) => !trained.has(name))) };
}

describe('training layer by layer', () => {
  const trainedOf = (all: ReadonlyMap<string, Tensor<'float32'>>) =>
    new Map([...all].filter(([name]) => name.includes('lora') || name.includes('norm')));

  it('makes the steps of whole graphs, with micro-batches and clipping', async () => {
    const [whole, layers] = [await train(await job(false)), await train(await job(true))];
    whole.losses.forEach((loss, i) => expect(Math.abs(layers.losses[i] / loss - 1)).toBeLessThan(1e-6));
    expect(largestChange(trainedOf(whole.parameters), layers.parameters)).toBeLessThan(1e-5);
  });

  it('measures held-out loss as whole graphs do', async () => {
    const evaluation = {
      dataset: await songRows(),
      objective: causalObjective(llama, 20),
      every: 3,
      keep: 'last',
    } as const;
    const [whole, layers] = [
      await train(await job(false, {}, { evaluation: { ...evaluation } })),
      await train(await job(true, {}, { evaluation: { ...evaluation } })),
    ];
    expect(layers.evaluations.map(({ update }) => update)).toEqual([3, 6]);
    whole.evaluations.forEach(({ loss }, i) => {
      expect(Math.abs(layers.evaluations[i].loss / loss - 1)).toBeLessThan(1e-6);
    });
  });

  it('ends with the same numbers after a stop', async () => {
    const folder = await scratchFolder();
    const snapshots = { folder, every: 2 };
    const unbroken = await train(await job(true));
    const stop = new AbortController();
    const onUpdate = ({ update }: { readonly update: number }): void => {
      if (update === 3) stop.abort();
    };
    const stopped = await train(await job(true, {}, { snapshots, signal: stop.signal, onUpdate }));
    expect(stopped).toMatchObject({ finished: false, updates: 3 });
    const resumed = await train(await job(true, {}, { snapshots }));
    expect(resumed.losses).toEqual(unbroken.losses);
    expect(largestChange(resumed.parameters, unbroken.parameters)).toBe(0);
  });

  it('reads weights once for all batches of a step', () => {
    const deep = describeCausalModel({ ...tinyConfig('llama'), num_hidden_layers: 24 });
    const { graph, source } = lossGraph(deep);
    const norms = new Set([...source.values.keys()].filter((name) => name.includes('norm')));
    const readInto = () => Promise.resolve();
    const weights = new Map(
      [...deep.parameters]
        .filter(([name]) => !norms.has(name))
        .map(([name, { shape }]) => [name, { dtype: 'float32' as const, shape, readInto }]),
    );
    const [one, three] = [1, 3].map((batches) => segmentedGradientsCost(graph, norms, weights, batches));
    expect(three.operations).toBe(3 * one.operations);
    expect(three.bytes).toBeLessThan(3 * one.bytes);
  });
});
