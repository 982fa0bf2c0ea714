/**
 * Models in GGUF against llama.cpp's results of their exact weights (where it takes GELU from a table: loops in float64): probabilities
 * of the next token, greedy continuations, hidden states of BERT.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chain } from '../../src/attention/tree.ts';
import { loadModel, openInPlace } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { MtpDrafter } from '../../src/decoding/speculation/drafters/mtp-drafter.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import { weightBytesPerToken } from '../../src/evaluation/speed/memory-traffic.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, int32 } from '../../src/graph/tensor.ts';
import { requireCausal } from '../../src/models/families/index.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { open, type OpenOptions } from '../../src/open/index.ts';
import { compile } from '../../src/runtime/compile.ts';
import { writeTinyGguf } from '../../bench/peers/tiny-gguf.ts';
import { golden, thirdParty } from '../fixtures.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { expectedGguf, goldenGguf } from './golden-gguf.ts';

/** Families that do not exist here, by the name of their architecture. */
const elsewhere = new Set(['olmo2']);

const folders = [golden('gguf'), thirdParty('golden-gguf')].filter((folder) => folder !== undefined);
const names = [...new Set(folders.flatMap((folder) => readdirSync(folder)))]
  .filter((name) => !/^tokenizer|\./.test(name) && !elsewhere.has(name.split('-')[0]))
  .toSorted();

function softmax(logits: Float32Array): number[] {
  const peak = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - peak));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function farthest(one: ArrayLike<number>, other: readonly number[]): number {
  expect(one.length).toBe(other.length);
  return Math.max(...other.map((value, i) => Math.abs(value - one[i])));
}

it.skipIf(goldenGguf('llama-f32') === undefined)('biases of a LLaMA are added to its projections', async () => {
  const template = join(goldenGguf('llama-f32') ?? '', 'model.gguf');
  const file = join(await scratchFolder(), 'biased.gguf');
  await writeTinyGguf(file, template, 'F32', undefined, { biases: true });
  const { model, parameters } = await loadModel(file);
  const { sizes } = requireCausal(model);
  const half = sizes.headWidth / 2;
  const queries = dataOf(parameters.get('model.layers.0.self_attn.q_proj.bias') ?? float32([0], []), 'float32');
  // Row 2i of a head in the file is row i of the checkpoint.
  for (let i = 0; i < half; i++) expect(queries[i]).toBe(Math.fround(queries[0] === 0 ? Math.sin(2 * i) : NaN));
  const request = { tree: chain(3), tokens: [5, 6, 7], wanted: [2] };
  const logits = [];
  for (const without of ['', 'q_proj.bias', 'o_proj.bias', 'gate_proj.bias', 'up_proj.bias', 'down_proj.bias']) {
    const changed = new Map(
      [...parameters].map(([name, value]) => [
        name,
        without !== '' && name.endsWith(without) ? float32(value.shape, new Float32Array(value.data.length)) : value,
      ]),
    );
    await using engine = await DecodingEngine.create(requireCausal(model), changed, { threads: 1 });
    const [output] = await engine.step([{ ...request, state: engine.newState() }]);
    logits.push(String(output.logits[0]));
  }
  expect(new Set(logits).size).toBe(logits.length);
});

describe.each(names)('%s', (name) => {
  const folder = goldenGguf(name) ?? '';
  const { architecture, sequences } = expectedGguf(folder);

  it.skipIf(architecture === 'bert')('has the probabilities and the greedy tokens', async () => {
    const { model, parameters } = await loadModel(folder);
    await using engine = await DecodingEngine.create(requireCausal(model), parameters, { threads: 1 });
    for (const { ids, exact, float64 } of sequences) {
      const request = { state: engine.newState(), tree: chain(ids.length), tokens: ids, wanted: [ids.length - 1] };
      const [{ logits }] = await engine.step([request]);
      const expected = float64?.probabilities ?? exact.probabilities ?? [];
      expect(farthest(softmax(logits[0]), expected), `after ${ids.length} tokens`).toBeLessThan(1e-5);
      const { tokens } = await generateToEnd(engine, { promptTokens: ids, maxTokens: 24, ignoreEos: true });
      expect(tokens, `after ${ids.length} tokens`).toEqual(exact.greedy);
    }
  });

  it.skipIf(architecture === 'bert')('computes with the codes of the file', async () => {
    const { model, weights } = await openInPlace(folder);
    if ('labels' in model) throw new Error('a classifier');
    const causal = requireCausal(model);
    const source = storedSource(causal, weights, { dtype: 'stored', device: 'cpu' });
    await using engine = await DecodingEngine.compile(causal, source, { threads: 1 });
    const differences: number[] = [];
    for (const { ids, exact, float64 } of sequences) {
      const request = { state: engine.newState(), tree: chain(ids.length), tokens: ids, wanted: [ids.length - 1] };
      const [{ logits }] = await engine.step([request]);
      differences.push(farthest(softmax(logits[0]), float64?.probabilities ?? exact.probabilities ?? []));
    }
    const most = Math.max(...differences);
    if (process.env.LINNET_GGUF_LOG !== undefined) console.log(`${name} ${most.toExponential(2)}`);
    expect(most).toBeLessThan(weights.codes === undefined ? 1e-5 : 0.08);
  });

  it.skipIf(architecture !== 'bert')('has the hidden states', async () => {
    const { model, parameters } = await loadModel(join(folder, 'model.gguf'));
    if (model.kind !== 'encoder') throw new Error(`a model of kind ${model.kind}`);
    for (const { ids, float64Erf } of sequences) {
      const graph = new Graph('hidden');
      const [tokens, mask] = [
        graph.input('tokens', 'int32', [1, ids.length]),
        graph.input('mask', 'float32', [1, ids.length]),
      ];
      graph.output('hidden', model.encode(new WeightParameters(graph, parameters), { tokens, mask }));
      await using program = await compile(graph);
      const ones = float32([1, ids.length], new Float32Array(ids.length).fill(1));
      const { hidden } = await program.run({ tokens: int32([1, ids.length], ids), mask: ones }, ['hidden']);
      const rows = dataOf(hidden, 'float32');
      const { width } = model.sizes;
      const mean = Array.from(
        { length: width },
        (_, i) => ids.reduce((sum, _id, row) => sum + rows[row * width + i], 0) / ids.length,
      );
      expect(farthest(mean, float64Erf?.mean ?? [])).toBeLessThan(1e-5);
    }
  });
});

it.each(['F32', 'Q8_0', 'Q4_0'] as const)('a Qwen3.5 in %s brings the layer that drafts', async (type) => {
  const folder = await scratchFolder();
  const [file, plain] = ['mtp.gguf', 'plain.gguf'].map((name) => join(folder, name));
  const template = join(goldenGguf('qwen35-q8_0') ?? '', 'model.gguf');
  await writeTinyGguf(file, template, type, undefined, { mtp: true });
  await writeTinyGguf(plain, template, type);
  const { model, parameters } = await loadModel(file);
  const { mtp, mixers } = requireCausal(model);
  const others = [...parameters].filter(([name]) => !name.startsWith('mtp.'));
  expect(others).toEqual([...(await loadModel(plain)).parameters]);
  expect([...parameters.keys()].filter((name) => name.startsWith('mtp.')).sort()).toEqual(
    [...(mtp?.parameters.keys() ?? [])].sort(),
  );
  // It is a copy of the last layer that attends, with norms of its own around it, which files have with 1 added.
  const last = mixers.length - 1;
  for (const [name, value] of parameters) {
    if (name.startsWith('mtp.layers.0.')) {
      expect(value).toEqual(parameters.get(name.replace('mtp.layers.0', `model.layers.${last}`)));
    }
  }
  for (const [phase, name] of ['pre_fc_norm_embedding', 'pre_fc_norm_hidden', 'norm'].entries()) {
    const gains = dataOf(parameters.get(`mtp.${name}.weight`) ?? float32([0], []), 'float32');
    gains.forEach((gain, i) => expect(gain).toBeCloseTo(Math.sin(i + phase) / 4, 6));
  }
  await using opened = await open(file, { threads: 1 });
  await using without = await open(plain, { threads: 1 });
  expect([opened.hasMtp, without.hasMtp]).toEqual([true, false]);
  await using drafts = await opened.mtp();
  const statistics = new SpeculationStatistics();
  const method = speculative(new MtpDrafter(drafts, { depth: 3, width: 2, least: 0 }), { statistics });
  const options = { promptTokens: [5, 6, 7, 8, 9], maxTokens: 60, ignoreEos: true };
  const { tokens } = await generateToEnd(await without.engine(), options);
  expect((await generateToEnd(await opened.engine(), { ...options, method })).tokens).toEqual(tokens);
  expect(statistics.summary.nodesPerStep).toBeGreaterThan(2);
});

it('a GGUF keeps its codes when it is linearized, and computes what its decoded weights do', async () => {
  const path = join(goldenGguf('llama-q4_0') ?? '', 'model.gguf');
  const logitsOf = async (options: OpenOptions): Promise<{ logits: Float32Array; bytes: number; read: number }> => {
    await using softmax = await open(path, { threads: 1, ...options });
    await using model = await softmax.linearize('augmented');
    const engine = await model.engine();
    const { logits } = await engine.prefill(engine.newState(), [5, 6, 7, 8, 9, 10, 11]);
    const { modelBytes, weightBytes } = engine.program.statistics;
    return { logits, bytes: modelBytes, read: weightBytesPerToken({ weightBytes }, model.description, undefined) };
  };
  const [coded, float] = [await logitsOf({}), await logitsOf({ dtype: 'f32' })];
  expect(coded.bytes).toBeLessThan(0.6 * float.bytes);
  // A float32 scale for 32 codes of four bits, and few weights without codes.
  expect(coded.read).toBeGreaterThan((5 / 32) * float.read);
  expect(coded.read).toBeLessThan(0.3 * float.read);
  expect(farthest(softmax(coded.logits), softmax(float.logits))).toBeLessThan(0.08);
});
