/** T5 against outputs and gradients of executed reference code (test/golden: hf_t5_*, lin_t5_aug). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { reshape } from '../../src/graph/ops/layout.ts';
import { sum } from '../../src/graph/ops/contraction.ts';
import { mul } from '../../src/graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { crossEntropy } from '../../src/graph/ops/normalization.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { InputParameters, consequencesOf } from '../../src/nn/parameters.ts';
import { goldenConfig, goldenNumbers, type GoldenTensor, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenFolder, goldenWeights, runGraph } from './golden-model.ts';

const looseConfig = z.record(z.string(), z.unknown());

describe.each(['hf_t5_relu', 'hf_t5_gated_gelu'])('%s', (name) => {
  const io = readGolden(name);
  const model = t5Model(goldenConfig(name, looseConfig));
  const weights = goldenWeights(name, model.parameterName);

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const checked = [...model.parameters.keys()];
    const results = await runT5(model, weights, io, checked);
    expectT5(results, io, checked);
  });

  it('decays its matrices and embeddings, not its norms and biases', () => {
    for (const [key, { role }] of model.parameters) {
      expect(consequencesOf(role).decays, key).toBe(!/norm|relative_attention_bias/.test(key));
    }
  });

  it('opens as a Hugging Face folder, copies of the embedding left out', async () => {
    const folder = await goldenFolder(name);
    const loaded = await loadModel(folder);
    expect(loaded.model).toMatchObject({ kind: 'encoder-decoder', startId: 0, eosIds: [1] });
    for (const [key, { data }] of weights) expect(loaded.parameters.get(key)?.data, key).toEqual(data);
    expect(model.parameterName('encoder.embed_tokens.weight')).toBeUndefined();
    expect(model.parameterName('decoder.embed_tokens.weight')).toBeUndefined();
    expect(model.parameterName('lm_head.weight')).toBe(name === 'hf_t5_relu' ? undefined : 'lm_head.weight');
  });
});

describe('lin_t5_aug', () => {
  const io = readGolden('lin_t5_aug');
  const weightsOf = (model: EncoderDecoderModel): Map<string, Tensor> =>
    goldenWeights('lin_t5_aug', model.parameterName);
  const checked = [...io.keys()].flatMap((key) => (key.startsWith('grad.') ? [key.slice('grad.'.length)] : []));

  it('has the reference hidden states, logits, loss and gradients where padding is read as in the original', async () => {
    const model = linearized('read');
    expect(checked.length).toBeGreaterThan(20);
    const results = await runT5(
      model,
      weightsOf(model),
      io,
      checked.map((key) => model.parameterName(key) ?? key),
    );
    expectT5(results, io, checked, (key) => model.parameterName(key) ?? key);
  });

  it('does not let the tokens at padded positions change anything otherwise', async () => {
    for (const padding of ['zero', 'read'] as const) {
      const model = linearized(padding);
      const mask = goldenNumbers(io, 'attention_mask');
      const other = new Map(io);
      const ids = goldenTensor(io, 'input_ids');
      other.set('input_ids', { ...ids, data: Int32Array.from(ids.data, (id, i) => (mask[i] === 0 ? 7 : id)) });
      const [a, b] = [await runT5(model, weightsOf(model), io, []), await runT5(model, weightsOf(model), other, [])];
      const difference = relativeToPeak(a.logits, b.logits);
      if (padding === 'zero') expect(difference).toBeLessThan(1e-6);
      else expect(difference).toBeGreaterThan(1e-3);
    }
  });

  it('survives a config.json', () => {
    const model = linearized('read');
    expect(t5Model(model.toJson()).toJson()).toEqual(model.toJson());
    expect(t5Model(model.toJson()).mixers).toEqual(model.mixers);
  });
});

/** The configuration of the case names its mixers in fields of its own, which T5's does not know. */
function linearized(padding: 'zero' | 'read'): EncoderDecoderModel {
  const { linear, parameters_without_gradient: _, ...config } = goldenConfig('lin_t5_aug', looseConfig);
  const { group_size: group, conv_kernel: kernel } = z
    .object({ group_size: z.int(), conv_kernel: z.int() })
    .parse(linear);
  const both = { kind: 'linear', group, local: {}, global: {} };
  const twice = (mixer: object): object[] => [mixer, mixer];
  return t5Model({
    ...config,
    linnet: {
      version: 1,
      encoder: twice({ ...both, convolution: { kernel } }),
      decoder: twice({ ...both, convolution: { kernel } }),
      cross: twice(both),
      padding,
    },
  });
}

/** Runs the case's batch; gives the hidden states, `logits`, the mean `loss` over labels and `grad.<name>`. */
async function runT5(
  model: EncoderDecoderModel,
  weights: ReadonlyMap<string, Tensor>,
  io: ReadonlyMap<string, GoldenTensor>,
  differentiated: readonly string[],
): Promise<Record<string, Float64Array>> {
  const ids = goldenTensor(io, 'input_ids');
  const read = goldenTensor(io, 'decoder_input_ids');
  const labels = goldenTensor(io, 'labels');
  const [B, m] = read.shape;
  const graph = new Graph('t5 golden');
  const source = new InputParameters(graph);
  const mask = graph.input('mask', 'float32', ids.shape);
  const encoded = model.encode(source, { tokens: graph.input('inputs', 'int32', ids.shape), mask });
  const hidden = model.decode(source, { tokens: graph.input('read', 'int32', [B, m]), encoded, encodedMask: mask });
  const logits = model.head(source, hidden);
  const rows = crossEntropy(reshape(logits, [B * m, model.sizes.vocabulary]), graph.input('labels', 'int32', [B * m]));
  const loss = sum(mul(rows, graph.input('weights', 'float32', [B * m])));
  graph.output('encoded', encoded);
  graph.output('hidden', hidden);
  graph.output('logits', logits);
  graph.output('loss', loss);
  const parameters = differentiated.map((name) => source.parameter(name, model.parameters.get(name)?.shape ?? []));
  if (parameters.length > 0) {
    gradients(loss, parameters).forEach((gradient, i) => {
      graph.output(`grad.${differentiated[i]}`, gradient);
    });
  }
  const counted = Array.from(labels.data, (label) => (label === -100 ? 0 : 1));
  const count = counted.reduce<number>((a, b) => a + b, 0);
  return runGraph(graph, {
    ...Object.fromEntries([...weights].filter(([name]) => source.values.has(name))),
    inputs: int32(ids.shape, Int32Array.from(ids.data)),
    mask: float32(ids.shape, Float32Array.from(goldenTensor(io, 'attention_mask').data)),
    read: int32([B, m], Int32Array.from(read.data)),
    labels: int32(
      [B * m],
      Int32Array.from(labels.data, (label) => Math.max(label, 0)),
    ),
    weights: float32(
      [B * m],
      counted.map((x) => x / count),
    ),
  });
}

function expectT5(
  results: Record<string, Float64Array>,
  io: ReadonlyMap<string, GoldenTensor>,
  checked: readonly string[],
  nameOf = (key: string): string => key,
): void {
  const mask = goldenNumbers(io, 'attention_mask');
  const width = results.encoded.length / mask.length;
  const visible = results.encoded.map((x, i) => x * mask[Math.floor(i / width)]);
  const expected = goldenNumbers(io, 'encoder_last_hidden_state');
  const hidden = expected.map((x, i) => x * mask[Math.floor(i / width)]);
  expect(relativeToPeak(visible, hidden), 'encoder').toBeLessThan(2e-5);
  expectGolden(results, io, { hidden: 'decoder_last_hidden_state', logits: 'logits64', loss: 'loss64' });
  const stored = new Map(checked.map((key) => [nameOf(key), `grad.${key}`]));
  expectGoldenGradients(results, io, stored.keys(), (name) => stored.get(name) ?? name);
}
