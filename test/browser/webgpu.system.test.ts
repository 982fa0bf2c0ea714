/**
 * The device `webgpu` against `cpu`: the augmented mixer with its gradients, a training step and decoding of a small
 * model. Needs a Vulkan, Metal or Direct3D driver; Mesa's lavapipe, which computes on the CPU, will do.
 */
import { describe, expect, it } from 'vitest';
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import type { MixerConfig, MixerParameterValues } from '../../src/attention/mixer.ts';
import { mixerParameters, mixParallel, parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { chain, TokenTree } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { dataOf, elementCount, float32, type Tensor, tensor } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { isDeviceAvailable } from '../../src/runtime/availability.ts';
import { compile, type Device } from '../../src/runtime/compile.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';
import { causalObjective } from '../../src/training/objectives/next-token.ts';
import { initialState, compileTraining } from '../../src/training/step-program.ts';
import { relativeToPeak } from '../parity/golden.ts';
import { randomParameters, randomTokens, tinyLlama } from '../models/tiny-llama.ts';

const absent = !(await isDeviceAvailable('webgpu'));
const G = 8;
const augmented: MixerInput = mixerPreset('augmented', { group: G, kernel: 9 });

function randomTensor(random: Random, shape: readonly number[]): Tensor {
  return float32(
    shape,
    Float32Array.from({ length: elementCount(shape) }, () => random.normal()),
  );
}

function numbers(data: ArrayLike<number | bigint>): Float64Array {
  return Float64Array.from(data, Number);
}

/** Output and gradients of the parallel form, two query heads on each of two key-value heads. */
async function mixed(config: MixerConfig, n: number, device: Device): Promise<Record<string, Tensor>> {
  const [B, H, M, D] = [2, 4, 2, 8];
  const graph = new Graph('mixer');
  const random = new Random(n);
  const feeds: Record<string, Tensor> = {};
  const input = (name: string, shape: readonly number[]): Value => {
    feeds[name] = randomTensor(random, shape);
    return graph.input(name, 'float32', shape);
  };
  const positions = { q: input('q', [B, n, H, D]), k: input('k', [B, n, M, D]), v: input('v', [B, n, M, D]) };
  const parameters: Partial<Record<keyof MixerParameterValues, Value>> = {};
  for (const { name, shape } of mixerParameters(config, { heads: H, keyValueHeads: M, headWidth: D })) {
    parameters[name] = input(name, shape);
  }
  const output = mixParallel(config, positions, parameters);
  const wanted: Record<string, Value> = { ...positions, ...parameters };
  const found = vectorJacobian([output], [input('dout', [B, n, H, D])], Object.values(wanted));
  graph.output('out', output);
  Object.keys(wanted).forEach((name, i) => {
    graph.output(`gradient of ${name}`, found[i]);
  });
  await using program = await compile(graph, { device });
  const live = Object.entries(feeds).filter(([name]) => program.inputs.has(name));
  return await program.run(Object.fromEntries(live), [...graph.outputs.keys()]);
}

const skipped = absent ? ' (skipped: no Vulkan, Metal or Direct3D driver)' : '';

describe.skipIf(absent)(`webgpu equals cpu${skipped}`, () => {
  it.each([
    ['augmented', augmented],
    [
      'augmented, softmax local kernel',
      { kind: 'linear', group: G, local: { kernel: 'softmax' }, global: {}, convolution: {} },
    ],
    ['softmax', { kind: 'softmax' }],
  ] satisfies [string, MixerInput][])('parallel form and gradients: %s', async (_, input) => {
    const config = parseMixer(input);
    const n = 3 * G + 5;
    const expected = await mixed(config, n, 'cpu');
    const actual = await mixed(config, n, 'webgpu');
    for (const [name, { data }] of Object.entries(expected)) {
      expect(relativeToPeak(numbers(actual[name].data), numbers(data)), name).toBeLessThan(1e-4);
    }
  });

  describe('a small hybrid model', () => {
    const model = tinyLlama([augmented, { kind: 'softmax' }]);
    const parameters = randomParameters(model, 5);

    it('takes the same training step', async () => {
      const [rows, length] = [2, 2 * G + 3];
      const tokens = randomTokens(model, rows * (length + 1), 9);
      const batch = {
        inputs: tensor('int32', [rows, length], tokens.slice(0, rows * length)),
        labels: tensor('int32', [rows, length], tokens.slice(rows)),
        weights: tensor('float32', [rows, length], new Float32Array(rows * length).fill(1)),
      };
      const step = async (device: Device): Promise<{ loss: number; norm: number; moments: Map<string, Tensor> }> => {
        const start = new Map(
          [...parameters].map(([name, value]) => [name, tensor('float32', value.shape, dataOf(value, 'float32'))]),
        );
        const settings = parseTrainingSettings({ batch: rows, length });
        const job = { model, objective: causalObjective(model, length), parameters: start, settings };
        await using program = await compileTraining(job, (graph) => compile(graph, { device }));
        const state = initialState(program.blocks, start);
        const { loss, gradientNorm } = await program.step(state, [batch], 1e-3, 0);
        return { loss, norm: gradientNorm, moments: state.first };
      };
      const expected = await step('cpu');
      const actual = await step('webgpu');
      expect(actual.loss).toBeCloseTo(expected.loss, 4);
      expect(actual.norm / expected.norm).toBeCloseTo(1, 3);
      // First moments are the clipped gradients times 1 − β₁.
      for (const [name, { data }] of expected.moments) {
        const moment = numbers(actual.moments.get(name)?.data ?? []);
        expect(relativeToPeak(moment, numbers(data)), name).toBeLessThan(1e-3);
      }
    });

    it('decodes alike: prompt, tree, commit and step', async () => {
      const text = randomTokens(model, G + 5, 7);
      const parents = [-1, 0, 0, 1, 3, 2, 5];
      const nodes = randomTokens(model, parents.length, 8);
      const decode = async (device: Device): Promise<Float32Array[]> => {
        await using engine = await DecodingEngine.create(model, parameters, { device });
        const state = engine.newState();
        const { logits: afterPrompt } = await engine.prefill(state, text);
        const request = { state, tree: new TokenTree(parents), tokens: nodes, wanted: parents.map((_, node) => node) };
        const [verified] = await engine.step([request]);
        const logits = verified.logits.map((row) => row.slice());
        await engine.commit(request, verified, [0, 1, 3, 4]);
        const next = { state, tree: chain(1), tokens: [3], wanted: [0] };
        const [after] = await engine.step([next]);
        return [afterPrompt.slice(), ...logits, after.logits[0].slice()];
      };
      const expected = await decode('cpu');
      const actual = await decode('webgpu');
      expect(actual).toHaveLength(parents.length + 2);
      actual.forEach((row, i) => {
        expect(relativeToPeak(row, expected[i]), `row ${i}`).toBeLessThan(1e-4);
      });
    });
  });
});
