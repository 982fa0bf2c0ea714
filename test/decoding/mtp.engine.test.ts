/** The layer of multi-token prediction: its formula, its drafts, its training, its place in folders and exports. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { chain } from '../../src/attention/tree.ts';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { MtpDrafter } from '../../src/decoding/speculation/drafters/mtp-drafter.ts';
import { AdaptiveSpeculation } from '../../src/decoding/speculation/adaptive-speculation.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { Runner } from '../../src/engine/runner.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { mtpStepModel } from '../../src/models/graphs/mtp-graph.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { open } from '../../src/open/index.ts';
import { Random } from '../../src/random.ts';
import { trainHeads } from '../../src/training/plans/heads.ts';
import { saveTinyModel, tinyConfig } from '../models/tiny-model.ts';
import { randomTokens } from '../models/tiny-llama.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { generateToEnd } from './generated.ts';

const model = describeCausalModel(tinyConfig('qwen3_5_text'));

/** Parameters of model and layer: norms around the gains that they have, matrices that keep the size of their inputs. */
function drawn(described: CausalModel, seed: number): Map<string, Tensor<'float32'>> {
  const random = new Random(seed);
  const declared = [...described.parameters, ...(described.optionalParameters ?? [])];
  return new Map(
    declared.map(([name, { shape }]) => {
      const spread = shape.length > 1 ? 1.5 / Math.sqrt(shape[shape.length - 1]) : 0.3;
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => spread * random.normal());
      return [name, { dtype: 'float32', shape, data }];
    }),
  );
}

function mtpEngine(described: CausalModel, parameters: ReadonlyMap<string, Tensor>): Promise<DecodingEngine> {
  const layer = mtpStepModel(described);
  if (layer === undefined) throw new Error('the family has no layer');
  return DecodingEngine.create(layer, parameters, { threads: 1 });
}

/** Logits after each of T tokens, and hidden states, in float64. */
function ownLayer(
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  tokens: readonly number[],
  before: readonly Float32Array[],
): { logits: number[][]; hidden: number[][] } {
  const [H, M, D, turned, epsilon] = [2, 1, 8, 4, 1e-6];
  const weights = (name: string): ArrayLike<number> => {
    const found = parameters.get(`${name}.weight`);
    if (found === undefined) throw new Error(`no ${name}`);
    return found.data;
  };
  const product = (name: string, x: readonly number[]): number[] => {
    const matrix = weights(name);
    return Array.from({ length: matrix.length / x.length }, (_, row) =>
      x.reduce((sum, value, column) => sum + value * matrix[row * x.length + column], 0),
    );
  };
  const norm = (name: string, x: readonly number[]): number[] => {
    const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + epsilon);
    return x.map((value, i) => value * scale * (1 + weights(name)[i]));
  };
  const rotated = (x: readonly number[], position: number): number[] => {
    const half = turned / 2;
    return x.map((value, i) => {
      if (i >= turned) return value;
      const angle = position * 10000 ** (-(2 * (i % half)) / turned);
      const other = i < half ? -x[i + half] : x[i - half];
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  };
  const silu = (x: number): number => x / (1 + Math.exp(-x));
  const heads = (x: readonly number[], count: number): number[][] =>
    Array.from({ length: count }, (_, head) => x.slice((head * x.length) / count, ((head + 1) * x.length) / count));
  const keys: number[][][] = [];
  const values: number[][][] = [];
  const layer = 'mtp.layers.0';
  const results = tokens.map((token, at) => {
    const table = weights('model.embed_tokens');
    const embedded = Array.from({ length: 16 }, (_, i) => table[token * 16 + i]);
    const joined = [
      ...norm('mtp.pre_fc_norm_embedding', embedded),
      ...norm('mtp.pre_fc_norm_hidden', Array.from(before[at])),
    ];
    let x = product('mtp.fc', joined);
    const read = norm(`${layer}.input_layernorm`, x);
    const queries = heads(product(`${layer}.self_attn.q_proj`, read), H);
    keys.push(
      heads(product(`${layer}.self_attn.k_proj`, read), M).map((k) =>
        rotated(norm(`${layer}.self_attn.k_norm`, k), at),
      ),
    );
    values.push(heads(product(`${layer}.self_attn.v_proj`, read), M));
    const mixed = queries.flatMap((both) => {
      const q = rotated(norm(`${layer}.self_attn.q_norm`, both.slice(0, D)), at);
      const scores = keys.map(([k]) => Math.exp(q.reduce((sum, value, i) => sum + value * k[i], 0) / Math.sqrt(D)));
      const total = scores.reduce((a, b) => a + b, 0);
      return Array.from({ length: D }, (_, i) => {
        const sum = values.reduce((all, [v], j) => all + (scores[j] / total) * v[i], 0);
        return sum / (1 + Math.exp(-both[D + i]));
      });
    });
    x = product(`${layer}.self_attn.o_proj`, mixed).map((value, i) => value + x[i]);
    const inner = norm(`${layer}.post_attention_layernorm`, x);
    const up = product(`${layer}.mlp.up_proj`, inner);
    const gated = product(`${layer}.mlp.gate_proj`, inner).map((value, i) => silu(value) * up[i]);
    x = product(`${layer}.mlp.down_proj`, gated).map((value, i) => value + x[i]);
    const hidden = norm('mtp.norm', x);
    return { hidden, logits: product('model.embed_tokens', hidden) };
  });
  return { logits: results.map(({ logits }) => logits), hidden: results.map(({ hidden }) => hidden) };
}

describe('a layer of multi-token prediction', () => {
  it('computes its formula, token by token and as a chain', async () => {
    const parameters = drawn(model, 5);
    await using engine = await mtpEngine(model, parameters);
    const random = new Random(2);
    const tokens = [...randomTokens(model, 7, 3)];
    const before = tokens.map(() => Float32Array.from({ length: 16 }, () => random.normal()));
    const expected = ownLayer(parameters, tokens, before);
    const state = engine.newState();
    for (const [from, to] of [
      [0, 4],
      [4, 5],
      [5, 7],
    ]) {
      const nodes = Array.from({ length: to - from }, (_, i) => i);
      const part = { tokens: tokens.slice(from, to), before: before.slice(from, to) };
      const request = { state, tree: chain(to - from), wanted: nodes, ...part };
      const [output] = await engine.step([request]);
      await engine.commit(request, output, nodes);
      for (const node of nodes) {
        const peak = Math.max(...expected.logits[from + node].map(Math.abs));
        expected.logits[from + node].forEach((value, i) => {
          expect(Math.abs(output.logits[node][i] - value)).toBeLessThan(2e-5 * peak);
        });
        expected.hidden[from + node].forEach((value, i) => {
          expect(Math.abs(output.hidden[node][i] - value)).toBeLessThan(1e-4);
        });
      }
    }
    const missing = { state, tree: chain(2), tokens: [1, 2], wanted: [1], before: [before[0]] };
    await expect(engine.step([missing])).rejects.toMatchObject({ code: 'INPUT' });
  });

  it.each([{ depth: 4, width: 1, least: 0 }, { depth: 3, width: 3, least: 0 }, {}])(
    'drafts %j, and the text stays that of one-by-one decoding',
    async (bounds) => {
      const parameters = drawn(model, 7);
      await using engine = await DecodingEngine.create(model, parameters, { threads: 1 });
      await using drafts = await mtpEngine(model, parameters);
      const options = { promptTokens: randomTokens(model, 9, 4), maxTokens: 120, ignoreEos: true };
      const alone = await generateToEnd(engine, options);
      const statistics = new SpeculationStatistics();
      const method = speculative(new MtpDrafter(drafts, bounds), { statistics });
      expect((await generateToEnd(engine, { ...options, method })).tokens).toEqual(alone.tokens);
      if ('width' in bounds) expect(statistics.summary.nodesPerStep).toBeGreaterThan(3);
      // Rounds without a draft in between leave pairs that wait.
      const paced = speculative(new MtpDrafter(drafts, bounds), { adaptive: new AdaptiveSpeculation() });
      expect((await generateToEnd(engine, { ...options, method: paced })).tokens).toEqual(alone.tokens);
    },
  );

  it.each([9, 150])('reads the end of a prompt of %i tokens before it drafts', async (length) => {
    const parameters = drawn(model, 7);
    await using engine = await DecodingEngine.create(model, parameters, { threads: 1 });
    await using drafts = await mtpEngine(model, parameters);
    const promptTokens = [...randomTokens(model, length, 4)];
    const read = { tokens: new Array<number>(), before: new Array<Float32Array>() };
    const step = vi.spyOn(drafts, 'step').mockImplementationOnce(([request]) => {
      Object.assign(read, request);
      return Promise.reject(new Error('read'));
    });
    const method = speculative(new MtpDrafter(drafts));
    await expect(generateToEnd(engine, { promptTokens, maxTokens: 8, ignoreEos: true, method })).rejects.toThrow(
      'read',
    );
    const tokens = promptTokens.slice(-64);
    const request = { state: engine.newState(), tree: chain(length), tokens: promptTokens };
    const [{ hidden, logits }] = await engine.step([{ ...request, wanted: [...promptTokens.keys()].slice(-64) }]);
    const last = logits[tokens.length - 1];
    expect(step).toHaveBeenCalledOnce();
    expect(read.tokens).toEqual([...tokens.slice(1), last.indexOf(Math.max(...last))]);
    expect(read.before).toHaveLength(tokens.length);
    for (const [i, row] of read.before.entries()) {
      expect(Math.max(...row.map((value, at) => Math.abs(value - hidden[i][at])))).toBeLessThan(1e-4);
    }
  });

  it('drafts for the texts of a runner, also of Qwen3-Next', async () => {
    const next = describeCausalModel(tinyConfig('qwen3_next'));
    const parameters = drawn(next, 3);
    await using engine = await DecodingEngine.create(next, parameters, { threads: 1 });
    await using mtp = await mtpEngine(next, parameters);
    let drafted = 0;
    const observer = { drafted: (count: number) => (drafted += count) };
    const textsOf = (runner: Runner): Promise<number[][]> =>
      Promise.all(
        [5, 6, 7].map(async (seed) => {
          const tokens: number[] = [];
          const job = { prompt: { tokens: [...randomTokens(next, 20, seed)] }, maxTokens: 40, ignoreEos: true };
          for await (const event of runner.submit(job)) if (event.type === 'tokens') tokens.push(...event.tokens);
          return tokens;
        }),
      );
    const alone = await textsOf(new Runner(engine));
    expect(drafted).toBe(0);
    expect(await textsOf(new Runner(engine, { mtp, observer }))).toEqual(alone);
    expect(drafted).toBeGreaterThan(0);
  });

  it('is kept in folders and exports, and learns to draft', async () => {
    const folder = await scratchFolder();
    const at = (name: string): string => join(folder, name);
    await saveTinyModel(at('base'), 1, 'qwen3_5');
    const base = await loadCausalModel(at('base'));
    const text = 'the quick brown fox jumps over the lazy dog. '.repeat(60);
    await writeFile(at('text.txt'), text);
    const options = { data: [at('text.txt')], batch: 4, length: 48, learningRate: 1e-2, replace: true };
    const trained = await trainHeads(at('base'), { ...options, mtp: true, heads: 2, steps: 60, out: at('mtp') });
    const before = await trainHeads(at('base'), { ...options, mtp: true, heads: 2, steps: 1, out: at('fresh') });
    expect(trained.loss).toBeLessThan(0.7 * Number(before.loss));
    const loaded = await loadCausalModel(at('mtp'));
    expect([...loaded.parameters.keys()].filter((name) => name.startsWith('mtp.'))).toHaveLength(15);
    for (const [name, { data }] of base.parameters) expect(loaded.parameters.get(name)?.data).toEqual(data);
    const { model: described, parameters, path } = loaded;
    await saveModel(at('again'), { model: described, parameters }, { tokenizerFiles: { from: path } });
    expect((await loadCausalModel(at('again'))).parameters).toEqual(loaded.parameters);
    expect((await loadCausalModel(at('base'))).parameters.has('mtp.fc.weight')).toBe(false);

    const manifest = await exportFolder(at('mtp'), at('export'), { dtype: 'f32' });
    expect(manifest.mtp?.weightBytes).toBeGreaterThan(0);
    expect(await readdir(at('export'))).toEqual(expect.arrayContaining(['mtp.onnx', 'model.onnx.data']));
    expect(await readdir(at('export'))).not.toContain('mtp.onnx.data');
    expect((await exportFolder(at('base'), at('plain'), { dtype: 'f32' })).mtp).toBeUndefined();
    const tokensOf = async (name: string, drafted: boolean): Promise<readonly number[]> => {
      await using opened = await open(at(name));
      const engine = await opened.engine();
      const generation = { promptTokens: [1, 2, 3], maxTokens: 60, ignoreEos: true };
      if (!drafted) return (await generateToEnd(engine, generation)).tokens;
      await using drafts = await opened.mtp();
      const method = speculative(new MtpDrafter(drafts));
      return (await generateToEnd(engine, { ...generation, method })).tokens;
    };
    const alone = await tokensOf('mtp', false);
    expect(await tokensOf('mtp', true)).toEqual(alone);
    expect(await tokensOf('export', true)).toEqual(alone);
    await using plain = await open(at('plain'));
    expect(plain.hasMtp).toBe(false);
    await expect(plain.mtp()).rejects.toMatchObject({ code: 'CONFIG' });
    await saveTinyModel(at('llama'));
    const other = trainHeads(at('llama'), { ...options, mtp: true, steps: 1, out: at('never') });
    await expect(other).rejects.toMatchObject({ code: 'CONFIG' });
  });
});
