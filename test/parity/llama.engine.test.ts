/** LLaMA against outputs and gradients of executed reference code (test/golden: hf_llama_*, lin_llama_aug). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { type GoldenTensor, goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGolden } from './golden-model.ts';

const looseConfig = z.record(z.string(), z.unknown());

/** The linearized case's configuration names its mixer in fields of its own, which LLaMA's does not know. */
function model(name: string): CausalModel {
  const {
    linear,
    lengths: _,
    grad_length: __,
    parameters_without_gradient: ___,
    ...config
  } = goldenConfig(name, looseConfig);
  const plain = describeCausalModel(config);
  if (linear === undefined) return plain;
  const { group_size, conv_kernel } = z.object({ group_size: z.int(), conv_kernel: z.int() }).parse(linear);
  const mixer: MixerConfig = parseMixer({
    kind: 'linear',
    group: group_size,
    local: {},
    global: {},
    convolution: { kernel: conv_kernel },
  });
  return plain.withMixers(plain.mixers.map(() => mixer));
}

const run = (name: string, ids: GoldenTensor): Promise<Record<string, Float64Array>> =>
  runGolden(model(name), goldenWeights(name, model(name).parameterName), ids);

const softmaxCases = ['hf_llama_mha_tied', 'hf_llama_mha_untied', 'hf_llama_gqa_tied', 'hf_llama_gqa_untied'];

describe.each(softmaxCases)('%s', (name) => {
  const io = readGolden(name);

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const results = await run(name, goldenTensor(io, 'input_ids'));
    expectGolden(results, io);
    expectGoldenGradients(results, io, model(name).parameters.keys());
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
    expectGolden(results, io, { logits: `n${n}.logits`, loss: `n${n}.loss64` });
    if (n === 37) expectGoldenGradients(results, io, model('lin_llama_aug').parameters.keys());
  });
});
