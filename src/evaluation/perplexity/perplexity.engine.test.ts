import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../attention/presets.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, int32, type Tensor } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelLogits } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { PerplexityEvaluator, perplexity } from './perplexity.ts';
import { type ScoredWindow, scoredTokens } from './scored-windows.ts';
import { paddedLength, windowBatches } from './window-batches.ts';

const plain = describeCausalModel({
  model_type: 'llama',
  vocab_size: 37,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
});
const model = plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 8, kernel: 5 })));
/** Large weights, so that predictions depend on the past. */
const parameters = (seed: number): Map<string, Tensor<'float32'>> => initializeParameters(model, new Random(seed), 0.6);

function randomWindows(lengths: readonly number[]): ScoredWindow[] {
  const random = new Random(17);
  return lengths.map((length) => ({
    tokens: Int32Array.from({ length }, () => random.integer(37)),
    scoredFrom: 1 + random.integer(length - 1),
  }));
}

/** Mean −log p window by window from the logits, in float64: no batching, no padding. */
async function expectedNll(
  of: CausalModel,
  weights: ReadonlyMap<string, Tensor>,
  windows: readonly ScoredWindow[],
): Promise<number> {
  let total = 0;
  for (const { tokens, scoredFrom } of windows) {
    const graph = new Graph('logits');
    const n = tokens.length;
    const input = graph.input('tokens', 'int32', [1, n]);
    graph.output('logits', parallelLogits(of, new WeightParameters(graph, weights), input));
    const program = await compile(graph);
    const logits = dataOf((await program.run({ tokens: int32([1, n], tokens) }, ['logits'])).logits, 'float32');
    await program.dispose();
    for (let token = scoredFrom; token < n; token++) {
      const row = Float64Array.from(logits.subarray((token - 1) * 37, token * 37));
      total += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[tokens[token]];
    }
  }
  return total / scoredTokens(windows);
}

describe('perplexity', () => {
  const windows = randomWindows([2, 3, 64, 65, 66, 30, 129, 17]);
  const data = { windows, documents: 8 };

  it('is that of every window alone, however windows are batched', async () => {
    const expected = await expectedNll(model, parameters(1), windows);
    for (const batchTokens of [1, 128, 4096]) {
      const result = await perplexity(model, parameters(1), data, { batchTokens });
      expect(Math.abs(result.nll - expected)).toBeLessThan(2e-5);
      expect(result).toMatchObject({ perplexity: Math.exp(result.nll), tokens: scoredTokens(windows), documents: 8 });
    }
  });

  it('follows parameters that change, without compiling anew', async () => {
    const evaluator = await PerplexityEvaluator.create(model, data);
    const first = await evaluator.evaluate(parameters(1));
    const second = await evaluator.evaluate(parameters(2));
    const again = await evaluator.evaluate(parameters(1));
    await evaluator.dispose();
    expect(second.nll).not.toBeCloseTo(first.nll, 3);
    expect(again).toEqual(first);
  });

  it('reports progress and stops on request', async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const running = perplexity(model, parameters(1), data, {
      batchTokens: 64,
      signal: controller.signal,
      onProgress: ({ windows: done }) => {
        seen.push(done);
        if (done >= 3) controller.abort();
      },
    });
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen).toEqual([1, 2, 3]);
  });

  it('refuses tokens of another vocabulary, missing parameters and empty text', async () => {
    const foreign = { windows: [{ tokens: Int32Array.of(1, 37), scoredFrom: 1 }], documents: 1 };
    await expect(perplexity(model, parameters(1), foreign)).rejects.toMatchObject({ code: 'MISMATCH' });
    const lacking = parameters(1);
    lacking.delete('model.norm.weight');
    await expect(perplexity(model, lacking, data)).rejects.toMatchObject({ code: 'TENSOR' });
    await expect(perplexity(model, parameters(1), { windows: [], documents: 0 })).rejects.toMatchObject({
      code: 'INPUT',
    });
  });
});

describe('windowBatches', () => {
  it('keeps every window once, in few shapes, with little padding', () => {
    const random = new Random(4);
    const windows = randomWindows(Array.from({ length: 200 }, () => 2 + random.integer(511)));
    const batches = windowBatches(windows, 2048);
    expect(batches.flatMap((batch) => batch.windows)).toHaveLength(200);
    expect(new Set(batches.flatMap((batch) => batch.windows))).toEqual(new Set(windows));
    expect(new Set(batches.map(({ rows, length }) => `${rows} ${length}`)).size).toBeLessThanOrEqual(8);
    for (const batch of batches) {
      expect(batch.rows * batch.length).toBeLessThanOrEqual(2048);
      expect(batch.windows.length).toBeLessThanOrEqual(batch.rows);
      for (const { tokens } of batch.windows) expect(tokens.length - 1).toBeLessThanOrEqual(batch.length);
    }
    const padded = batches.reduce((total, { rows, length }) => total + rows * length, 0);
    const real = windows.reduce((total, { tokens }) => total + tokens.length - 1, 0);
    expect(padded / real).toBeLessThan(1.3);
  });

  it('pads to multiples of 64, and to an eighth at most of long texts', () => {
    expect([1, 64, 65, 511, 512, 513, 1025].map(paddedLength)).toEqual([64, 64, 128, 512, 512, 640, 1280]);
  });
});
