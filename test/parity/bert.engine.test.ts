/** BERT against outputs and gradients of executed reference code (test/golden: hf_bert_mlm, hf_bert_seqcls). */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { saveCheckpoint } from '../../src/checkpoint/save-checkpoint.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { sum } from '../../src/graph/ops/contraction.ts';
import { mul } from '../../src/graph/ops/elementwise.ts';
import { crossEntropy } from '../../src/graph/ops/normalization.ts';
import { mean } from '../../src/graph/ops/reduce.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { bertModel } from '../../src/models/families/bert/model.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import type { EncoderInput, EncoderModel } from '../../src/models/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { type GoldenTensor, goldenConfig, goldenTensor, readGolden } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGraph } from './golden-model.ts';
import { scratchFolder } from '../scratch-folder.ts';

const looseConfig = z.record(z.string(), z.unknown());

/** The batch of a case: its inputs as they are declared, and what they are fed. */
function declareBatch(graph: Graph, io: ReadonlyMap<string, GoldenTensor>) {
  const ids = goldenTensor(io, 'input_ids');
  const [B, n] = ids.shape;
  const input: EncoderInput = {
    tokens: graph.input('tokens', 'int32', [B, n]),
    mask: graph.input('mask', 'float32', [B, n]),
    segments: graph.input('segments', 'int32', [B, n]),
  };
  const feeds = {
    tokens: int32([B, n], Int32Array.from(ids.data)),
    mask: float32([B, n], goldenTensor(io, 'attention_mask').data),
    segments: int32([B, n], Int32Array.from(goldenTensor(io, 'token_type_ids').data)),
  };
  return { input, feeds };
}

/** Adds the gradients of every parameter that the case has one of; returns their names. */
function outputGradients(
  graph: Graph,
  source: InputParameters,
  model: EncoderModel,
  loss: Value,
  io: ReadonlyMap<string, GoldenTensor>,
): string[] {
  const names = [...io.keys()].flatMap((key) => (key.startsWith('grad.') ? [key.slice('grad.'.length)] : []));
  gradients(
    loss,
    names.map((name) => source.parameter(name, model.parameters.get(name)?.shape ?? [])),
  ).forEach((gradient, i) => {
    graph.output(`grad.${names[i]}`, gradient);
  });
  return names;
}

/** Hidden states at padding are set to zero in the cases. */
function visible(values: Float64Array, mask: ArrayLike<number>): Float64Array {
  const features = values.length / mask.length;
  return values.map((x, i) => x * mask[Math.floor(i / features)]);
}

describe('hf_bert_mlm', () => {
  const io = readGolden('hf_bert_mlm');
  const config = goldenConfig('hf_bert_mlm', looseConfig);
  const model = bertModel(config);
  const weights = goldenWeights('hf_bert_mlm', model.parameterName);
  const mask = goldenTensor(io, 'attention_mask').data;

  it('has the reference hidden states, logits, loss and gradients', async () => {
    const graph = new Graph('masked LM');
    const source = new InputParameters(graph);
    const { input, feeds } = declareBatch(graph, io);
    const hidden = model.encode(source, input);
    const logits = model.head(source, hidden);
    const labels = Int32Array.from(goldenTensor(io, 'labels').data);
    const [B, n] = goldenTensor(io, 'labels').shape;
    const counted = labels.filter((label) => label >= 0).length;
    const losses = crossEntropy(logits, graph.input('labels', 'int32', [B, n]));
    const loss = mul(sum(mul(losses, graph.input('counts', 'float32', [B, n]))), 1 / counted);
    graph.output('hidden', hidden);
    graph.output('logits', logits);
    graph.output('loss', loss);
    const checked = outputGradients(graph, source, model, loss, io);

    const results = await runGraph(graph, {
      ...Object.fromEntries(weights),
      ...feeds,
      labels: int32(
        [B, n],
        labels.map((label) => Math.max(label, 0)),
      ),
      counts: float32(
        [B, n],
        Float32Array.from(labels, (label) => (label >= 0 ? 1 : 0)),
      ),
    });
    expect(counted).toBeLessThan(B * n);
    const shown = { hidden: visible(results.hidden, mask), logits: visible(results.logits, mask), loss: results.loss };
    expectGolden(shown, io);
    expect([...checked].sort()).toEqual([...model.parameters.keys()].sort());
    // A constant added to all keys changes no softmax.
    const isKeyBias = (key: string): boolean => key.endsWith('self.key.bias');
    for (const key of checked.filter(isKeyBias)) {
      expect(Math.max(...results[`grad.${key}`].map(Math.abs)), key).toBeLessThan(1e-6);
    }
    expectGoldenGradients(
      results,
      io,
      checked.filter((key) => !isKeyBias(key)),
    );
  });

  it('opens as a Hugging Face folder, also as the first published checkpoints are', async () => {
    const folder = await scratchFolder();
    const stored = [...weights].map(([name, { shape, data }]) => ({
      name,
      shape,
      data: Float32Array.from(data, Number),
    }));
    const values = async (place: string): Promise<Map<string, Tensor<'float32'>>> =>
      (await loadModel(join(folder, place))).parameters;

    const parameters = new Map(stored.map(({ name, shape, data }) => [name, float32(shape, data)]));
    await saveModel(join(folder, 'saved'), { model, parameters }, {});
    expect(await values('saved')).toEqual(parameters);

    const buffer = (name: string, width: number) => ({ name, shape: [1, width], data: new Float32Array(width) });
    const embedding = stored.find(({ name }) => name === 'bert.embeddings.word_embeddings.weight');
    const bias = stored.find(({ name }) => name === 'cls.predictions.bias');
    if (embedding === undefined || bias === undefined) throw new Error('the case lacks its embedding');
    const published = [
      ...stored.map(({ name, ...rest }) => ({
        ...rest,
        name: name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'),
      })),
      buffer('bert.embeddings.position_ids', 40),
      { ...embedding, name: 'cls.predictions.decoder.weight' },
      { ...bias, name: 'cls.predictions.decoder.bias' },
      { name: 'bert.pooler.dense.weight', shape: [32, 32], data: new Float32Array(32 * 32).fill(0.5) },
      { name: 'bert.pooler.dense.bias', shape: [32], data: new Float32Array(32).fill(0.25) },
      { name: 'cls.seq_relationship.weight', shape: [2, 32], data: new Float32Array(64) },
      { name: 'cls.seq_relationship.bias', shape: [2], data: new Float32Array(2) },
    ];
    await saveCheckpoint(join(folder, 'published'), { config, tensors: published });
    // The pooler is of no use to this head, but of use to whoever puts a classifier in its place.
    const pooler = new Map([
      ['bert.pooler.dense.weight', float32([32, 32], new Float32Array(32 * 32).fill(0.5))],
      ['bert.pooler.dense.bias', float32([32], new Float32Array(32).fill(0.25))],
    ]);
    const withPooler = new Map([...parameters, ...pooler]);
    expect(await values('published')).toEqual(withPooler);
    const changed = linearize(model, await values('published'), mixerPreset('softmax'));
    await saveModel(join(folder, 'changed'), changed, {});
    expect(await values('changed')).toEqual(withPooler);

    const bare = stored.flatMap(({ name, ...rest }) =>
      name.startsWith('bert.') ? [{ ...rest, name: name.slice('bert.'.length) }] : [],
    );
    await saveCheckpoint(join(folder, 'bare'), {
      config: { ...config, architectures: ['BertModel'] },
      tensors: [...bare, buffer('embeddings.position_ids', 40)],
    });
    const loaded = await values('bare');
    expect(loaded.size).toBe(bare.length);
    for (const [name, value] of loaded) expect(value, name).toEqual(parameters.get(name));
  });
});

describe('hf_bert_seqcls', () => {
  it('has the reference hidden states, class logits, loss and gradients', async () => {
    const io = readGolden('hf_bert_seqcls');
    const model = bertModel(goldenConfig('hf_bert_seqcls', looseConfig));
    expect(model.parameters.get('classifier.weight')?.shape[0]).toBe(3);

    const graph = new Graph('classifier');
    const source = new InputParameters(graph);
    const { input, feeds } = declareBatch(graph, io);
    const labels = goldenTensor(io, 'labels');
    const last = graph.constant(int32(labels.shape, new Int32Array(labels.data.length)));
    const logits = model.asClassifier(['0', '1', '2']).logits(source, { ...input, last });
    const loss = mean(crossEntropy(logits, graph.input('labels', 'int32', labels.shape)), [0]);
    graph.output('hidden', model.encode(source, input));
    graph.output('logits', logits);
    graph.output('loss', loss);
    const checked = outputGradients(graph, source, model, loss, io);

    const results = await runGraph(graph, {
      ...Object.fromEntries(goldenWeights('hf_bert_seqcls', model.parameterName)),
      ...feeds,
      labels: int32(labels.shape, Int32Array.from(labels.data)),
    });
    const mask = goldenTensor(io, 'attention_mask').data;
    expectGolden({ ...results, hidden: visible(results.hidden, mask) }, io);
    expect(checked).toContain('bert.pooler.dense.weight');
    expect(checked).toContain('classifier.bias');
    expectGoldenGradients(results, io, checked);
  });
});
