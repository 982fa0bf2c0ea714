/** Models for the AI SDK (`ai`), in process: `linnet(FOLDER)` is a language model, `linnet.embedding(FOLDER)` one of embeddings. */
import type {
  EmbeddingModelV3,
  EmbeddingModelV3CallOptions,
  EmbeddingModelV3Result,
  LanguageModelV3,
} from '@ai-sdk/provider';
import { Embeddings } from '../engine/text/embeddings.ts';
import { LinnetError } from '../errors.ts';
import { LinnetLanguageModel, type LinnetSettings } from './language-model.ts';
import { OpenedOnce } from './opened-once.ts';

export type { LinnetSettings } from './language-model.ts';

/** A model of embeddings. Dispose of it. */
export interface LinnetEmbeddingModel extends EmbeddingModelV3, AsyncDisposable {
  /** Closes the model; a later call opens it again. */
  dispose(): Promise<void>;
}

/** A language model. Dispose of it. */
export interface LinnetModel extends LanguageModelV3, AsyncDisposable {
  /** Closes the model; a later call opens it again. */
  dispose(): Promise<void>;
}

/**
 * A language model of the AI SDK that runs in this process: texts and streams, tools, structured output. It is opened at the
 * first call. Keeps conversation states between calls, so that a turn reads only the new part.
 *
 * @param source as `open` of `linnet` takes it
 * @throws LinnetError at the first call, as `open`; `CONFIG` for a model without a chat template
 * @example
 * ```ts
 * import { generateText } from 'ai';
 * import { linnet } from 'linnet/ai-sdk';
 *
 * await using model = linnet('runs/converted');
 * const { text } = await generateText({ model, prompt: 'Why is the sky blue?' });
 * ```
 */
export function linnet(source: string, settings: LinnetSettings = {}): LinnetModel {
  return new LinnetLanguageModel(source, settings);
}

/** Embeddings of texts: the mean of the last hidden states of a causal model, of length 1. */
linnet.embedding = (source: string, settings: LinnetSettings = {}): LinnetEmbeddingModel =>
  new LinnetEmbeddings(source, settings);

class LinnetEmbeddings extends OpenedOnce implements EmbeddingModelV3 {
  readonly maxEmbeddingsPerCall = undefined;
  readonly supportsParallelCalls = false;

  /** @throws LinnetError `INPUT` for a text without a token or with more than the model has positions; `ABORTED` by the signal */
  async doEmbed({ values, abortSignal }: EmbeddingModelV3CallOptions): Promise<EmbeddingModelV3Result> {
    const model = await this.model();
    const embedding = new Embeddings(await model.engine(), model.tokenizer, 1, Infinity);
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
