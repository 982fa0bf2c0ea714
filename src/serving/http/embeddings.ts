/** Routes of embeddings: texts as vectors. */
import { z } from 'zod';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import { refuse } from './api-error.ts';
import { perLimits } from './limits.ts';
import { checkLength, answeredName, type EmbeddingServing } from './request-context.ts';
import type { ApiRequest, Route } from './route.ts';
import { checkBody, checkToken, maybe } from './request-fields.ts';

const embeddingsSchema = perLimits((limits) => {
  const ids = z.array(z.int().min(0).max(0xffffff)).min(1).max(limits.promptTokens);
  const several = z.array(z.union([z.string(), ids])).min(1);
  const error = `expected a text, token ids, or up to ${limits.prompts} of either`;
  return z.object({
    model: maybe(z.string().max(512)),
    input: z.union([z.string(), ids, several.max(limits.prompts)], { error }),
    encoding_format: maybe(z.enum(['float', 'base64'])),
    dimensions: maybe(z.int().min(1)),
  });
});

async function embeddings(serving: EmbeddingServing, request: ApiRequest): Promise<Response> {
  const { limits, embeddings: embedder } = serving;
  const fields = checkBody(embeddingsSchema(limits), request.body);
  const name = answeredName(serving, fields.model);
  const { width } = embedder;
  if (fields.dimensions !== undefined && fields.dimensions !== width) {
    refuse(`embeddings of this model have ${width} numbers`, 'dimensions');
  }
  const inputs = await whenEncoded(() => inputsOf(fields.input, serving), request.abort.signal);
  let tokens = 0;
  const data: object[] = [];
  for (const [index, input] of inputs.entries()) {
    tokens += input.length;
    const vector = await embedder.embed(input, request.abort.signal);
    const embedding =
      fields.encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : Array.from(vector);
    data.push({ object: 'embedding', index, embedding });
  }
  const usage = { prompt_tokens: tokens, total_tokens: tokens };
  return Response.json({ object: 'list', data, model: name, usage });
}

function inputsOf(
  input: z.output<ReturnType<typeof embeddingsSchema>>['input'],
  { model, embeddings: embedder }: EmbeddingServing,
): number[][] {
  const list = typeof input === 'string' ? [input] : input;
  const flat = list.filter((part) => typeof part === 'number');
  const texts = flat.length > 0 ? [flat] : list.filter((part) => typeof part !== 'number');
  return texts.map((part) => {
    const ids = typeof part === 'string' ? embedder.layOut(part) : part;
    for (const id of ids) checkToken(id, model.vocabulary, 'input');
    if (ids.length === 0) refuse('an input is empty', 'input');
    checkLength('input', ids.length, embedder.longest);
    return ids;
  });
}

export const embeddingRoutes: readonly Route<EmbeddingServing>[] = ['/v1/embeddings', '/embeddings', '/embedding'].map(
  (path) => ({
    ...{ method: 'post', path, summary: 'Texts as vectors of length 1', body: embeddingsSchema },
    answer: embeddings,
  }),
);
