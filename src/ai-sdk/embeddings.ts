/** Embeddings as the AI SDK asks for them. */
import type { EmbeddingModelV3, EmbeddingModelV3CallOptions, EmbeddingModelV3Result } from '@ai-sdk/provider';
import { Embeddings } from '../engine/text/embeddings.ts';
import { LinnetError } from '../errors.ts';
import { OpenedOnce } from './opened-once.ts';

export class LinnetEmbeddings extends OpenedOnce implements EmbeddingModelV3 {
  readonly maxEmbeddingsPerCall = undefined;
  readonly supportsParallelCalls = false;

  /** @throws LinnetError `INPUT` for a text without a token or with more than the model has positions; `ABORTED` by the signal */
  async doEmbed({ values, abortSignal }: EmbeddingModelV3CallOptions): Promise<EmbeddingModelV3Result> {
    const embedding = new Embeddings(await this.model(), 1, Infinity);
    const signal = abortSignal ?? new AbortController().signal;
    const embeddings: number[][] = [];
    let tokens = 0;
    for (const value of values) {
      const text = embedding.layOut(value);
      if (text.length === 0 || text.length > embedding.longest) {
        throw new LinnetError('INPUT', `a text has ${text.length} tokens; expected 1 to ${embedding.longest}`);
      }
      tokens += text.length;
      embeddings.push(Array.from(await embedding.embed(text, signal)));
    }
    return { embeddings, usage: { tokens }, warnings: [] };
  }
}
