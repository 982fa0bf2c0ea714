/** GPT-2 against outputs and gradients of executed reference code (test/golden: hf_gpt2, hf_gpt2_seqcls, lin_gpt2_aug). */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseMixer } from '../../src/attention/mixers.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { saveCheckpoint } from '../../src/checkpoint/save-checkpoint.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { crossEntropy } from '../../src/graph/ops/normalization.ts';
import { mean } from '../../src/graph/ops/reduce.ts';
import { float32, int32 } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import {
  expectGolden,
  expectGoldenGradients,
  goldenFolder,
  goldenWeights,
  runGolden,
  runGraph,
} from './golden-model.ts';

const looseConfig = z.record(z.string(), z.unknown());

describe('hf_gpt2', () => {
  const io = readGolden('hf_gpt2');
  const model = describeCausalModel(goldenConfig('hf_gpt2', looseConfig));
  const weights = goldenWeights('hf_gpt2', model.parameterName);

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const results = await runGolden(model, weights, goldenTensor(io, 'input_ids'));
    expectGolden(results, io);
    expectGoldenGradients(results, io, model.parameters.keys());
  });

  it('gives the reference logits of a padded batch where tokens are real', async () => {
    const { logits } = await runGolden(model, weights, goldenTensor(io, 'padded.input_ids'));
    const mask = goldenNumbers(io, 'padded.attention_mask');
    const visible = logits.map((x, i) => x * mask[Math.floor(i / model.sizes.vocabulary)]);
    expect(relativeToPeak(visible, goldenNumbers(io, 'padded.logits'))).toBeLessThan(2e-5);
  });

  it('generates the reference tokens, greedily', async () => {
    const prompt = goldenTensor(io, 'generate.prompt');
    const output = goldenTensor(io, 'generate.output');
    const [rows, promptLength] = prompt.shape;
    const length = output.shape[1];
    const engine = await DecodingEngine.create(model, weights);
    try {
      for (let row = 0; row < rows; row++) {
        const expected = Array.from(output.data.slice(row * length, (row + 1) * length));
        const { tokens } = await generateToEnd(engine, {
          promptTokens: expected.slice(0, promptLength),
          maxTokens: length - promptLength,
          ignoreEos: true,
        });
        expect(expected.slice(0, promptLength)).toEqual(
          Array.from(prompt.data.slice(row * promptLength, (row + 1) * promptLength)),
        );
        expect(tokens).toEqual(expected.slice(promptLength));
      }
    } finally {
      await engine.dispose();
    }
  });

  it('opens as a Hugging Face folder', async () => {
    const folder = await goldenFolder('hf_gpt2');
    const { parameters } = await loadCausalModel(folder);
    for (const [name, { data }] of weights) expect(parameters.get(name)?.data, name).toEqual(data);
    const config = goldenConfig('hf_gpt2', looseConfig);
    // As the first published checkpoints are: without the prefix, with the masks, and here with a copy of the head.
    const bare = [...weights].map(([name, { shape, data }]) => ({
      name: name.replace(/^transformer\./, ''),
      shape,
      data: Float32Array.from(data, Number),
    }));
    const mask = { shape: [1, 1, 2, 2], data: Float32Array.of(1, 0, 1, 1) };
    const head = { ...bare[bare.findIndex(({ name }) => name === 'wte.weight')], name: 'lm_head.weight' };
    const published = [...bare, { ...mask, name: 'h.0.attn.bias' }, { ...mask, name: 'h.1.attn.masked_bias' }, head];
    const first = join(folder, 'published');
    await saveCheckpoint(first, { config, tensors: published });
    const loaded = await loadCausalModel(first);
    expect(loaded.parameters.size).toBe(weights.size);
    for (const [name, { data }] of weights) expect(loaded.parameters.get(name)?.data, name).toEqual(data);
    const twice = join(folder, 'twice');
    await saveCheckpoint(twice, { config, tensors: [...bare, { ...bare[0], name: `transformer.${bare[0].name}` }] });
    await expect(loadCausalModel(twice)).rejects.toThrow(/which are the same parameter; keep one/);

    await writeFile(join(folder, 'config.json'), '{"model_type":"gpt2","rotary_dim":8}');
    await expect(loadCausalModel(folder)).rejects.toThrow(/unknown: "rotary_dim" \(positions\)/);
  });
});

describe('hf_gpt2_seqcls', () => {
  it('has the reference class logits, loss and gradients', async () => {
    const io = readGolden('hf_gpt2_seqcls');
    const config = goldenConfig('hf_gpt2_seqcls', looseConfig);
    const { num_labels: classes } = z.object({ num_labels: z.int() }).parse(config);
    const model = describeCausalModel(config);
    const ids = goldenTensor(io, 'input_ids');
    const [B, n] = ids.shape;

    const graph = new Graph('classifier');
    const source = new InputParameters(graph);
    const last = graph.input('last', 'int32', [B]);
    const mask = goldenTensor(io, 'attention_mask');
    const texts = {
      tokens: graph.input('tokens', 'int32', [B, n]),
      mask: graph.constant(float32([B, n], mask.data)),
      last,
    };
    const { head, logits: logitsOf } = model.asClassifier(Array.from({ length: classes }, String));
    const logits = logitsOf(source, texts);
    const loss = mean(crossEntropy(logits, graph.input('labels', 'int32', [B])), [0]);
    graph.output('logits', logits);
    graph.output('loss', loss);
    const shapes = new Map([...model.parameters, ...head]);
    const checked = [...io.keys()].flatMap((key) => (key.startsWith('grad.') ? [key.slice('grad.'.length)] : []));
    gradients(
      loss,
      checked.map((name) => source.parameter(name, shapes.get(name)?.shape ?? [])),
    ).forEach((gradient, i) => {
      graph.output(`grad.${checked[i]}`, gradient);
    });

    const results = await runGraph(graph, {
      ...Object.fromEntries(goldenWeights('hf_gpt2_seqcls', model.parameterName)),
      tokens: int32([B, n], Int32Array.from(ids.data)),
      labels: int32([B], Int32Array.from(goldenTensor(io, 'labels').data)),
      last: int32(
        [B],
        Array.from({ length: B }, (_, row) => mask.data.slice(row * n, (row + 1) * n).lastIndexOf(1)),
      ),
    });
    expectGolden(results, io, { logits: 'logits64', loss: 'loss64' });
    expect(checked).toContain('score.weight');
    expectGoldenGradients(results, io, checked);
  });
});

describe('lin_gpt2_aug', () => {
  const io = readGolden('lin_gpt2_aug');
  const model = linearized();
  const weights = goldenWeights('lin_gpt2_aug', model.parameterName);

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const results = await runGolden(model, weights, goldenTensor(io, 'input_ids'));
    expectGolden(results, io);
    const stored = [...io.keys()].filter((key) => key.startsWith('grad.'));
    const places = new Map(stored.map((key) => [model.parameterName(key.slice('grad.'.length)), key]));
    expect(places.size).toBe(model.parameters.size);
    expectGoldenGradients(results, io, model.parameters.keys(), (name) => places.get(name) ?? name);
  });

  it('decodes the reference logits, token by token', async () => {
    const ids = goldenTensor(io, 'input_ids');
    const [B, n] = ids.shape;
    const { vocabulary } = model.sizes;
    const logits = new Float64Array(B * n * vocabulary);
    const engine = await DecodingEngine.create(model, weights);
    try {
      for (let row = 0; row < B; row++) {
        const state = engine.newState();
        for (let t = 0; t < n; t++) {
          const step = await engine.advance(state, ids.data[row * n + t]);
          logits.set(step.logits, (row * n + t) * vocabulary);
        }
      }
    } finally {
      await engine.dispose();
    }
    expect(relativeToPeak(logits, goldenNumbers(io, 'logits64'))).toBeLessThan(2e-5);
  });
});

/** The case's configuration names its mixer in fields of its own, which GPT-2's does not know. */
function linearized(): CausalModel {
  const { linear, unused: _, parameters_without_gradient: __, ...config } = goldenConfig('lin_gpt2_aug', looseConfig);
  const { group_size: group, conv_kernel: kernel } = z
    .object({ group_size: z.int(), conv_kernel: z.int() })
    .parse(linear);
  const plain = describeCausalModel(config);
  const mixer = parseMixer({ kind: 'linear', group, local: {}, global: {}, convolution: { kernel } });
  return plain.withMixers(plain.mixers.map(() => mixer));
}
