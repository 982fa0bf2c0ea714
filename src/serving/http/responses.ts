/** POST /v1/responses: answers to input items, each of which a later request may go on from. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { leadsTo } from '../../engine/prompt.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import { findResponse, keepResponse, type StoredResponse } from '../sessions/responses.ts';
import type { ServiceEvent, ServiceJob } from '../../engine/text/text-service.ts';
import { ApiError, asApiError } from './api-error.ts';
import { chatMessages, chatPrompt } from './chat-messages.ts';
import { eventStream, namedEvent } from './event-stream.ts';
import { perLimits } from './limits.ts';
import { type ApiRequest, checkModel, type Serving, tokensLeft } from './request-context.ts';
import { checkBody, maybe, type Refusals, samplingFields, samplingOf } from './request-fields.ts';
import { jsonOf, jsonSchemaField } from './response-format.ts';

const defaultMaxTokens = 4096;

const textPart = z.object({
  type: z.enum(['input_text', 'output_text', 'text'], { error: 'only parts that are text are supported' }),
  text: z.string(),
});

const item = z.object({
  type: maybe(z.literal('message', { error: 'only items of type "message" are supported' })),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.union([z.string(), z.array(textPart).max(1024)], { error: 'expected a text, or parts that are text' }),
});

const format = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({ type: z.literal('json_schema'), schema: jsonSchemaField }),
]);

export const responsesSchema = perLimits((limits) => {
  const { model, temperature, top_p, top_k, min_p, seed, stream, stop } = samplingFields(limits);
  return z.object({
    model,
    temperature,
    top_p,
    top_k,
    min_p,
    seed,
    stream,
    stop,
    input: z.union([z.string(), z.array(item).min(1).max(limits.messages)], {
      error: 'expected a text, or items of type "message" with texts',
    }),
    instructions: maybe(z.string()),
    max_output_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    text: maybe(z.object({ format: maybe(format) })),
    previous_response_id: maybe(z.string().max(64)),
    store: maybe(z.boolean()),
    metadata: maybe(z.record(z.string().max(64), z.string().max(512))),
  });
});

const filled = (value: unknown): boolean =>
  value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);

const refusals: Refusals = {
  tools: filled,
  tool_choice: (value) => filled(value) && value !== 'none' && value !== 'auto',
  background: (value) => value === true,
  conversation: filled,
  prompt: filled,
  top_logprobs: (value) => filled(value) && value !== 0,
};

type Fields = z.output<ReturnType<typeof responsesSchema>>;

/** A request that has been checked. */
interface Asked {
  readonly fields: Fields;
  readonly job: ServiceJob;
  /** Those before the answer, without instructions. */
  readonly messages: readonly ChatMessage[];
  readonly id: string;
  readonly itemId: string;
  readonly created: number;
}

/** Answers the request. @throws ApiError, and as `TextService.start` */
export async function responses(serving: Serving, request: ApiRequest): Promise<Response> {
  const asked = await prepare(serving, request);
  const events = serving.texts.start(asked.job);
  if (asked.fields.stream === true) {
    return eventStream(streamed(serving, asked, events), () => {
      request.abort.abort();
    });
  }
  let answer = begun(serving, asked);
  for await (const event of events) answer = await taken(serving, asked, answer, event);
  return Response.json(answer.body);
}

/** GET /v1/responses/{id}. @throws ApiError */
export async function getResponse({ responses: store }: Serving, key: string, id: string): Promise<Response> {
  return Response.json(stored(await findResponse(store, { owner: key, id }), id).body);
}

/** DELETE /v1/responses/{id}. @throws ApiError */
export async function deleteResponse({ responses: store }: Serving, key: string, id: string): Promise<Response> {
  if (!(await store.remove({ owner: key, id }))) stored(undefined, id);
  return Response.json({ id, object: 'response', deleted: true });
}

function stored(found: StoredResponse | undefined, id: string): StoredResponse {
  if (found !== undefined) return found;
  throw new ApiError('not_found_error', `there is no response ${id.slice(0, 64)}; it may have been forgotten`, {
    param: 'previous_response_id',
  });
}

async function prepare(serving: Serving, request: ApiRequest): Promise<Asked> {
  const { model, limits, responses: store } = serving;
  const fields = checkBody(responsesSchema(limits), request.body, refusals);
  checkModel(serving, fields.model);
  const { previous_response_id: previous, input, instructions } = fields;
  const before =
    previous === undefined
      ? undefined
      : stored(await findResponse(store, { owner: request.key, id: previous }), previous);
  const items = typeof input === 'string' ? [{ role: 'user' as const, content: input }] : input;
  const added = chatMessages(items.map(({ role, content }) => ({ role, content: textOf(content), name: undefined })));
  const messages = [...(before?.messages ?? []), ...added];
  const all = instructions === undefined ? messages : [{ role: 'system', content: instructions }, ...messages];
  const { tokens: prompt, keepAt } = chatPrompt(serving, { messages: all });
  const session = before?.session;
  const sampling = samplingOf(fields, model.engine.model.sizes.vocabulary);
  const job = {
    key: request.key,
    salt: request.salt,
    prompt,
    maxTokens: tokensLeft(serving, prompt.length, fields.max_output_tokens ?? defaultMaxTokens),
    n: 1,
    sampling,
    stop: typeof fields.stop === 'string' ? [fields.stop] : (fields.stop ?? []),
    stopIds: [],
    ignoreEos: false,
    json: jsonOf(serving, formatOf(fields)),
    scorePrompt: false,
    boundaries: keepAt,
    state: session !== undefined && leadsTo(session, prompt) ? session.state.fork() : undefined,
    signal: request.abort.signal,
  };
  const id = `resp_${randomUUID().replaceAll('-', '')}`;
  const itemId = `msg_${randomUUID().replaceAll('-', '')}`;
  return { fields, job, messages, id, itemId, created: Math.floor(Date.now() / 1000) };
}

function textOf(content: string | readonly { readonly text: string }[]): string {
  return typeof content === 'string' ? content : content.map(({ text }) => text).join('');
}

/** The format, as the other endpoints say it. */
function formatOf({ text }: Fields) {
  const given = text?.format;
  const none = { response_format: undefined, json_schema: undefined };
  if (given?.type === 'json_object') return { ...none, response_format: { ...given, schema: undefined } };
  return given?.type === 'json_schema' ? { ...none, json_schema: given.schema } : none;
}

/** An answer on its way. */
interface Answer {
  readonly text: string;
  readonly cached: number;
  readonly body: ReturnType<typeof bodyOf>;
}

function begun(serving: Serving, asked: Asked): Answer {
  return { text: '', cached: 0, body: bodyOf(serving, asked, {}) };
}

/** The answer after an event; when the text ends, it is kept for later requests. */
async function taken(serving: Serving, asked: Asked, answer: Answer, event: ServiceEvent): Promise<Answer> {
  if (event.type === 'prompt') return { ...answer, cached: event.cached };
  if (event.type === 'progress') return answer;
  if (event.type === 'text') return { ...answer, text: answer.text + event.text };
  const { generation, finish, sampler } = event;
  const input = asked.job.prompt.length;
  const output = generation.tokens.length;
  const usage = {
    input_tokens: input,
    input_tokens_details: { cached_tokens: answer.cached },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: input + output,
  };
  const status = finish === 'length' ? ('incomplete' as const) : ('completed' as const);
  const body = bodyOf(serving, asked, { status, usage, output: [messageItem(asked, answer.text, status)] });
  if (asked.fields.store !== false) {
    await keepResponse(
      serving.responses,
      { owner: asked.job.key, id: asked.id },
      {
        messages: [...asked.messages, { role: 'assistant', content: answer.text }],
        session: {
          state: generation.state,
          tokens: [...asked.job.prompt, ...generation.tokens],
          sampler: sampler.random.state,
        },
        body,
      },
    );
  }
  return { ...answer, body };
}

type Status = 'in_progress' | 'completed' | 'incomplete';

function contentPart(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function messageItem({ itemId }: Asked, text: string, status: Status) {
  const content = status === 'in_progress' ? [] : [contentPart(text)];
  return { id: itemId, type: 'message', role: 'assistant', status, content };
}

function bodyOf(
  { model }: Serving,
  { fields, job, id, created }: Asked,
  { status = 'in_progress', output = [], usage = null }: { status?: Status; output?: object[]; usage?: object | null },
) {
  return {
    id,
    object: 'response',
    created_at: created,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    model: model.name,
    output,
    parallel_tool_calls: false,
    previous_response_id: fields.previous_response_id ?? null,
    store: fields.store ?? true,
    temperature: job.sampling.temperature ?? 0,
    text: { format: fields.text?.format ?? { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: job.sampling.topP ?? 1,
    truncation: 'disabled',
    usage,
    metadata: fields.metadata ?? {},
  };
}

async function* streamed(
  serving: Serving,
  asked: Asked,
  events: AsyncIterable<ServiceEvent>,
): AsyncGenerator<string, void, undefined> {
  let sequence = 0;
  const send = (type: string, fields: object): string =>
    namedEvent(type, { type, sequence_number: sequence++, ...fields });
  const place = { item_id: asked.itemId, output_index: 0, content_index: 0 };
  let answer = begun(serving, asked);
  try {
    yield send('response.created', { response: answer.body });
    yield send('response.in_progress', { response: answer.body });
    yield send('response.output_item.added', { output_index: 0, item: messageItem(asked, '', 'in_progress') });
    yield send('response.content_part.added', { ...place, part: contentPart('') });
    for await (const event of events) {
      answer = await taken(serving, asked, answer, event);
      if (event.type === 'text' && event.text !== '') {
        yield send('response.output_text.delta', { ...place, delta: event.text, logprobs: [] });
      }
    }
    const { text, body } = answer;
    yield send('response.output_text.done', { ...place, text, logprobs: [] });
    yield send('response.content_part.done', { ...place, part: contentPart(text) });
    yield send('response.output_item.done', { output_index: 0, item: messageItem(asked, text, body.status) });
    yield send(`response.${body.status}`, { response: body });
  } catch (error) {
    const { message, type } = asApiError(error);
    yield send('error', { code: type, message, param: null });
  }
}
