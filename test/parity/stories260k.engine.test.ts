/** A real pretrained LLaMA against PyTorch: logits of its own greedy text, and perplexity on real stories. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { parseSafetensors } from '../../src/checkpoint/safetensors/directory.ts';
import type { Document } from '../../src/data/documents/document.ts';
import { loadDocuments } from '../../src/data/documents/documents.ts';
import { type PerplexityResult, perplexity } from '../../src/evaluation/perplexity/perplexity.ts';
import { evaluationData } from '../../src/evaluation/perplexity/scored-windows.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, int32 } from '../../src/graph/tensor.ts';
import { parallelLogits } from '../../src/models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { compile } from '../../src/runtime/compile.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { present, thirdParty } from '../fixtures.ts';

const folder = thirdParty('stories260k');
const reference = thirdParty('stories260k/expected-logits.safetensors');
const stories = thirdParty('text/tinystories.jsonl');
const absent = folder === undefined || reference === undefined || stories === undefined;

describe.skipIf(absent)(`stories260k${absent ? ' (skipped: third-party fixtures are absent)' : ''}`, () => {
  let loaded: LoadedModel;
  let tokenizer: Tokenizer;
  let documents: Document[];

  beforeAll(async () => {
    loaded = await loadCausalModel(present(folder));
    tokenizer = await loadTokenizer(present(folder));
    documents = await loadDocuments([present(stories)]);
  });

  async function measure(part: readonly Document[]): Promise<PerplexityResult> {
    const data = await evaluationData(part, tokenizer, { mode: 'documents', length: 512 });
    return perplexity(loaded.model, loaded.parameters, data);
  }

  it('has the reference logits on the first 64 greedy tokens', async () => {
    const tensors = parseSafetensors(readFileSync(present(reference)));
    const ids = Int32Array.from(dataOf(tensors.read('ids'), 'int64'), Number);
    const graph = new Graph('logits');
    const tokens = graph.input('tokens', 'int32', [1, 64]);
    graph.output('logits', parallelLogits(loaded.model, new WeightParameters(graph, loaded.parameters), tokens));
    const program = await compile(graph);
    const { logits } = await program.run({ tokens: int32([1, 64], ids) }, ['logits']);
    await program.dispose();
    expect(largestDifference(dataOf(logits, 'float32'), dataOf(tensors.readFloat32('logits'), 'float32'))).toBeLessThan(
      2e-4,
    );
  });

  it('has the reference perplexity on 130 stories', async () => {
    const result = await measure(documents);
    expect(result.documents).toBe(130);
    expect(result.tokens).toBe(49_760);
    expect(Math.abs(result.perplexity - 5.3617)).toBeLessThan(0.005);
  });

  it('has the reference perplexity on the last 20 stories', async () => {
    const result = await measure(documents.slice(-20));
    expect(Math.abs(result.perplexity - 7.038)).toBeLessThan(0.01);
  });
});

function largestDifference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  return actual.reduce((largest, value, i) => Math.max(largest, Math.abs(value - expected[i])), 0);
}
