/** Routes of embeddings: texts as vectors. */
import { z } from 'zod';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import type { ServerLimits } from './limits.ts';
import { checkLength, answeredName, type EmbeddingServing } from './request-context.ts';
import { type ApiRequest, post, type Route } from './route.ts';
import { checkInVocabulary, maybe, modelName, refuse, tokenId } from './request-fields.ts';

function embeddingsSchema(limits: ServerLimits) {
  const ids = z.array(tokenId).min(1).max(limits.promptTokens);
  const several = z.array(z.union([z.string(), ids])).min(1);
  const error = `expected a text, token ids, or up to ${limits.embeddings} of either`;
  return z.object({
    model: modelName,
    input: z.union([z.string(), ids, several.max(limits.embeddings)], { error }),
    encoding_format: maybe(z.enum(['float', 'base64'])),
    dimensions: maybe(z.int().min(1)),
  });
}

type Fields = z.output<ReturnType<typeof embeddingsSchema>>;

async function embeddings(serving: EmbeddingServing, request: ApiRequest, fields: Fields): Promise<Response> {
  const name = answeredName(serving, fields.model);
  const { vectors, tokens } = await vectorsOf(serving, fields.input, fields, request.abort.signal);
  const data = vectors.map((vector, index) => {
    const embedding =
      fields.encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : Array.from(vector);
    return { object: 'embedding', index, embedding };
  });
  const usage = { prompt_tokens: tokens, total_tokens: tokens };
  return Response.json({ object: 'list', data, model: name, usage });
}

interface VectorOptions {
  /** Numbers of a vector that the client expects. */
  readonly dimensions?: number | undefined;
  /** Whether to cut overlong texts. Default: refuse them. */
  readonly truncate?: boolean | undefined;
}

/** Vectors of texts, and the number of all their tokens. @throws ApiError for other dimensions and texts of wrong lengths */
export async function vectorsOf(
  serving: EmbeddingServing,
  given: Fields['input'],
  { dimensions, truncate = false }: VectorOptions,
  signal: AbortSignal,
): Promise<{ readonly vectors: readonly Float32Array[]; readonly tokens: number }> {
  const { width, longest } = serving.embeddings;
  if (dimensions !== undefined && dimensions !== width) {
    refuse(`this model's embeddings have ${width} numbers; leave out "dimensions"`, 'dimensions');
  }
  const inputs = await whenEncoded(() => inputsOf(given, serving, truncate ? longest : Infinity), signal);
  const most = Math.max(1, Math.floor(serving.limits.embeddingNumbers / width));
  if (inputs.length > most)
    refuse(`${inputs.length} inputs are too many for vectors of ${width} numbers; send up to ${most}`, 'input');
  const vectors: Float32Array[] = [];
  for (const input of inputs) vectors.push(await serving.embeddings.embed(input, signal));
  return { vectors, tokens: inputs.reduce((sum, { length }) => sum + length, 0) };
}

function inputsOf(input: Fields['input'], { model, embeddings: embedder }: EmbeddingServing, most: number): number[][] {
  const list = typeof input === 'string' ? [input] : input;
  const flat = list.filter((part) => typeof part === 'number');
  const texts = flat.length > 0 ? [flat] : list.filter((part) => typeof part !== 'number');
  return texts.map((part) => {
    const ids = typeof part === 'string' ? embedder.layOut(part, most) : part;
    checkInVocabulary(ids, model.vocabulary, 'input');
    if (ids.length === 0) refuse('an input is empty', 'input');
    checkLength('input', ids.length, embedder.longest);
    return ids;
  });
}

export const embeddingRoutes: readonly Route<EmbeddingServing>[] = ['/v1/embeddings', '/embeddings', '/embedding'].map(
  (path) => post(path, 'Embeds texts as vectors of length 1', embeddingsSchema, embeddings),
);
