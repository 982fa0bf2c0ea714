/** An encoder-decoder model over whole texts, as it is trained: what decoding step by step is compared with. */
import { Graph } from '../../src/graph/graph.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { runGraph } from '../parity/golden-model.ts';

/**
 * Logits [V] of every token of texts that are generated about one, all of one length: [texts][position].
 * @param text what the encoder reads
 * @param read what the decoder reads, the start token included
 */
export async function wholeLogits(
  model: EncoderDecoderModel,
  weights: ReadonlyMap<string, Tensor>,
  text: readonly number[],
  read: readonly (readonly number[])[],
): Promise<Float64Array[][]> {
  const B = read.length;
  const [n, m, V] = [text.length, read[0].length, model.sizes.vocabulary];
  const graph = new Graph('whole');
  const source = new InputParameters(graph);
  const mask = graph.input('mask', 'float32', [B, n]);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', [B, n]), mask });
  const decoder = { tokens: graph.input('read', 'int32', [B, m]), encoded, encodedMask: mask };
  graph.output('logits', model.head(source, model.decode(source, decoder)));
  const { logits } = await runGraph(graph, {
    ...Object.fromEntries([...weights].filter(([name]) => source.values.has(name))),
    tokens: int32(
      [B, n],
      read.flatMap(() => text),
    ),
    read: int32([B, m], read.flat()),
    mask: float32([B, n], new Float32Array(B * n).fill(1)),
  });
  return read.map((_, b) =>
    Array.from({ length: m }, (__, t) => logits.subarray((b * m + t) * V, (b * m + t + 1) * V)),
  );
}
