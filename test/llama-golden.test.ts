/** LLaMA against outputs and gradients of executed reference code (test/golden: hf_llama_*, lin_llama_aug). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type MixerConfig, parseMixer } from '../src/attention/mixer.ts';
import { gradients } from '../src/graph/gradients.ts';
import { Graph } from '../src/graph/graph.ts';
import { mul } from '../src/graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../src/graph/tensor.ts';
import { describeModel } from '../src/models/families.ts';
import type { CausalModel } from '../src/models/model.ts';
import { parallelHidden } from '../src/models/parallel-graph.ts';
import { InputParameters } from '../src/nn/parameters.ts';
import { compile } from '../src/runtime/compile.ts';
import { nextTokenLoss } from '../src/training/objective.ts';
import { goldenConfig, goldenNumbers, type GoldenTensor, goldenTensor, readGolden, relativeToPeak } from './golden.ts';

const looseConfig = z.record(z.string(), z.unknown());

function model(name: string): CausalModel {
  const config = goldenConfig(name, looseConfig);
  const plain = describeModel(config);
  if (!('linear' in config)) return plain;
  const { group_size, conv_kernel } = z.object({ group_size: z.int(), conv_kernel: z.int() }).parse(config.linear);
  const mixer: MixerConfig = parseMixer({
    kind: 'linear',
    group: group_size,
    local: {},
    global: {},
    convolution: { kernel: conv_kernel },
  });
  return plain.withMixers(plain.mixers.map(() => mixer));
}

function weights(name: string): Map<string, Tensor> {
  return new Map(
    [...readGolden(name, 'weights.safetensors')].map(([key, { shape, data }]) => [key, float32(shape, data)]),
  );
}

/** Runs a batch; returns hidden states, logits, the mean next-token loss and its gradients. */
async function run(name: string, ids: GoldenTensor): Promise<Record<string, Float64Array>> {
  const described = model(name);
  const [B, n] = ids.shape;
  const graph = new Graph(name);
  const source = new InputParameters(graph);
  const inputs = graph.input('inputs', 'int32', [B, n]);
  const hidden = parallelHidden(described, source, inputs);
  const batch = {
    inputs,
    labels: graph.input('labels', 'int32', [B, n]),
    weights: graph.input('weights', 'float32', [B, n]),
  };
  const loss = mul(nextTokenLoss(described, source, batch), 1 / (B * (n - 1)));
  const names = [...source.values.keys()];
  expect(names.sort()).toEqual([...described.parameters.keys()].sort());
  const found = gradients(
    loss,
    names.map((key) => source.parameter(key, described.parameters.get(key) ?? [])),
  );
  graph.output('hidden', hidden);
  graph.output('logits', described.head(source, hidden));
  graph.output('loss', loss);
  found.forEach((gradient, i) => {
    graph.output(`grad.${names[i]}`, gradient);
  });
  const program = await compile(graph);
  const tokens = Int32Array.from(ids.data);
  const feeds: Record<string, Tensor> = {
    ...Object.fromEntries(weights(name)),
    inputs: int32([B, n], tokens),
    labels: int32(
      [B, n],
      tokens.map((_, i) => ((i + 1) % n === 0 ? 0 : tokens[i + 1])),
    ),
    weights: float32(
      [B, n],
      Float32Array.from(tokens, (_, i) => ((i + 1) % n === 0 ? 0 : 1)),
    ),
  };
  const results = await program.run(feeds, [...program.outputs.keys()]);
  await program.dispose();
  return Object.fromEntries(
    Object.entries(results).map(([key, value]) => [key, Float64Array.from(value.data, Number)]),
  );
}

const softmaxCases = ['hf_llama_mha_tied', 'hf_llama_mha_untied', 'hf_llama_gqa_tied', 'hf_llama_gqa_untied'];

describe.each(softmaxCases)('%s', (name) => {
  const io = readGolden(name);

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const results = await run(name, goldenTensor(io, 'input_ids'));
    expect(relativeToPeak(results.hidden, goldenNumbers(io, 'last_hidden_state'))).toBeLessThan(2e-5);
    expect(relativeToPeak(results.logits, goldenNumbers(io, 'logits64'))).toBeLessThan(2e-5);
    expect(relativeToPeak(results.loss, goldenNumbers(io, 'loss64'))).toBeLessThan(2e-5);
    const parameters = [...model(name).parameters.keys()];
    for (const key of parameters) {
      expect(relativeToPeak(results[`grad.${key}`], goldenNumbers(io, `grad.${key}`)), key).toBeLessThan(2e-4);
    }
  });

  it('gives the reference logits of a padded batch where tokens are real', async () => {
    const { logits } = await run(name, goldenTensor(io, 'padded.input_ids'));
    const mask = goldenNumbers(io, 'padded.attention_mask');
    const vocabulary = model(name).sizes.vocabulary;
    const visible = logits.map((x, i) => x * mask[Math.floor(i / vocabulary)]);
    expect(relativeToPeak(visible, goldenNumbers(io, 'padded.logits'))).toBeLessThan(2e-5);
  });
});

describe('lin_llama_aug', () => {
  const io = readGolden('lin_llama_aug');

  it.each([9, 33, 37, 48])('has the reference logits and loss at n = %i', async (n) => {
    const results = await run('lin_llama_aug', goldenTensor(io, `n${n}.input_ids`));
    expect(relativeToPeak(results.logits, goldenNumbers(io, `n${n}.logits`))).toBeLessThan(2e-5);
    expect(relativeToPeak(results.loss, goldenNumbers(io, `n${n}.loss64`))).toBeLessThan(2e-5);
    if (n !== 37) return;
    for (const key of model('lin_llama_aug').parameters.keys()) {
      expect(relativeToPeak(results[`grad.${key}`], goldenNumbers(io, `grad.${key}`)), key).toBeLessThan(2e-4);
    }
  });
});
