/** POST /v1/embeddings: texts as vectors. */
import { z } from 'zod';
import { ApiError } from './api-error.ts';
import type { ServerLimits } from './limits.ts';
import { type ApiRequest, checkModel, type Serving, tokensLeft } from './request-context.ts';
import { checkBody, checkToken, maybe } from './request-fields.ts';

export function embeddingsSchema(limits: ServerLimits) {
  const ids = z.array(z.int().min(0).max(0xffffff)).min(1).max(limits.promptTokens);
  return z.object({
    model: maybe(z.string().max(512)),
    input: z.union(
      [
        z.string(),
        ids,
        z
          .array(z.union([z.string(), ids]))
          .min(1)
          .max(limits.prompts),
      ],
      {
        error: `expected a text, token ids, or up to ${limits.prompts} of either`,
      },
    ),
    encoding_format: maybe(z.enum(['float', 'base64'])),
    dimensions: maybe(z.int().min(1)),
  });
}

/** Answers the request. @throws ApiError */
export async function embeddings(serving: Serving, request: ApiRequest): Promise<Response> {
  const { model, limits } = serving;
  const fields = checkBody(embeddingsSchema(limits), request.body);
  checkModel(serving, fields.model);
  const { width } = model.engine.model.sizes;
  if (fields.dimensions !== undefined && fields.dimensions !== width) {
    throw new ApiError('invalid_request_error', `embeddings of this model have ${width} numbers`, {
      param: 'dimensions',
    });
  }
  const inputs = inputsOf(fields.input, serving);
  let tokens = 0;
  const data: object[] = [];
  for (const [index, input] of inputs.entries()) {
    tokens += input.length;
    const vector = await serving.embeddings.embed(input, request.abort.signal);
    const embedding =
      fields.encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : Array.from(vector);
    data.push({ object: 'embedding', index, embedding });
  }
  const usage = { prompt_tokens: tokens, total_tokens: tokens };
  return Response.json({ object: 'list', data, model: model.name, usage });
}

function inputsOf(input: z.output<ReturnType<typeof embeddingsSchema>>['input'], serving: Serving): number[][] {
  const { tokenizer, engine } = serving.model;
  const list = typeof input === 'string' ? [input] : input;
  const flat = list.filter((part) => typeof part === 'number');
  const texts = flat.length > 0 ? [flat] : list.filter((part) => typeof part !== 'number');
  return texts.map((part) => {
    const ids = typeof part === 'string' ? [...tokenizer.encode(part, { bos: tokenizer.bosId !== undefined })] : part;
    for (const id of ids) checkToken(id, engine.model.sizes.vocabulary, 'input');
    if (ids.length === 0) throw new ApiError('invalid_request_error', 'an input is empty', { param: 'input' });
    tokensLeft(serving, ids.length, 1);
    return ids;
  });
}
