/** Classifiers opened as Hugging Face folders give the reference logits (test/golden: hf_gpt2_seqcls, hf_bert_seqcls). */
import { expect, it } from 'vitest';
import { loadClassifier } from '../../src/checkpoint/load-classifier.ts';
import { Graph } from '../../src/graph/graph.ts';
import { float32, int32 } from '../../src/graph/tensor.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { goldenFolder, runGraph } from './golden-model.ts';

it.each(['hf_gpt2_seqcls', 'hf_bert_seqcls'])('%s', async (name) => {
  const folder = await goldenFolder(name);
  const { model, parameters } = await loadClassifier(folder);
  expect(model.labels).toHaveLength(3);
  const io = readGolden(name);
  const ids = goldenTensor(io, 'input_ids');
  const mask = goldenNumbers(io, 'attention_mask');
  const [B, n] = ids.shape;
  const lastOf = (row: number): number => mask.subarray(row * n, (row + 1) * n).lastIndexOf(1);
  const graph = new Graph('classifier');
  const segments = io.get('token_type_ids');
  const texts = {
    tokens: graph.constant(int32([B, n], Int32Array.from(ids.data))),
    mask: graph.constant(float32([B, n], Float32Array.from(mask))),
    last: graph.constant(
      int32(
        [B],
        Int32Array.from({ length: B }, (_, row) => lastOf(row)),
      ),
    ),
    ...(segments && { segments: graph.constant(int32([B, n], Int32Array.from(segments.data))) }),
  };
  graph.output('logits', model.classLogits(new WeightParameters(graph, parameters), texts));
  const { logits } = await runGraph(graph, {});
  expect(relativeToPeak(logits, goldenNumbers(io, 'logits64'))).toBeLessThan(2e-5);
});
