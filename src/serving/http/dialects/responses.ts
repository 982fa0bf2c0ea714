/** POST /v1/responses: answers to input items, each of which a later request may go on from. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { leadsTo } from '../../../engine/prompt.ts';
import type { ChatMessage } from '../../../tokenizer/chat-template.ts';
import type { SavedSession } from '../../../decoding/state/session-file.ts';
import { LinnetError } from '../../../errors.ts';
import { ApiError } from '../api-error.ts';
import { chatMessages, chatPrompt } from '../chat-messages.ts';
import { perLimits } from '../limits.ts';
import { answeredName, answerTokens, type Serving } from '../request-context.ts';
import type { Route } from '../route.ts';
import { maybe, some } from '../request-fields.ts';
import { type AnswerFold, type Dialect, finishOf, type TextRecord, usageOf } from './dialect.ts';
import { namedFraming } from './event-stream.ts';
import { jobOf, jsonSchemaField, samplingOf, textFields, toolRefusals } from './text-fields.ts';

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

const schema = perLimits((limits) => {
  const { model, temperature, top_p, top_k, min_p, seed, stream, stop } = textFields(limits);
  return z.object({
    ...{ model, temperature, top_p, top_k, min_p, seed, stream, stop },
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

type Fields = z.output<ReturnType<typeof schema>>;

interface Answered {
  readonly fields: Fields;
  readonly model: string;
  readonly sampling: { readonly temperature?: number; readonly topP?: number };
  readonly id: string;
  readonly itemId: string;
  readonly created: number;
}

export const responses: Dialect<Fields> = {
  summary: 'Answers input items; a later request may go on from an answer',
  body: schema,
  refusals: {
    ...toolRefusals,
    background: (value) => value === true,
    conversation: some,
    prompt: some,
    top_logprobs: (value) => some(value) && value !== 0,
  },
  framing: namedFraming,
  async ask(fields, { serving, request }) {
    const { previous_response_id: previous, input, instructions } = fields;
    const { responses: store, model } = serving;
    const owner = request.key;
    const before = previous === undefined ? undefined : await storedResponse(serving, owner, previous);
    const items = typeof input === 'string' ? [{ role: 'user' as const, content: input }] : input;
    const added = chatMessages(items);
    const messages: ChatMessage[] = [...(before?.messages ?? []), ...added];
    const all = instructions === undefined ? messages : [{ role: 'system', content: instructions }, ...messages];
    const asked = fields.max_output_tokens ?? answerTokens(serving);
    const sampling = samplingOf(fields, model.engine.model.sizes.vocabulary);
    const prompt = await chatPrompt(serving, { messages: all }, request.abort.signal);
    const job = jobOf({ ...fields, ...formatOf(fields) }, { serving, request }, prompt, { asked });
    const session = before?.session;
    const state = session !== undefined && leadsTo(session, job.prompt.tokens) ? session.state.fork() : undefined;
    const id = newId('resp');
    const created = Math.floor(Date.now() / 1000);
    const answered = {
      fields,
      model: answeredName(serving, fields.model),
      sampling,
      id,
      itemId: newId('msg'),
      created,
    };
    return {
      jobs: [{ ...job, sampling, state }],
      kept: {
        async keep(text, record) {
          if (fields.store === false) return;
          const said: ChatMessage = { role: 'assistant', content: record.choices[0].text };
          const body = bodyOf(answered, record);
          const note = JSON.stringify({ messages: [...messages, said], body });
          await store.save({ owner, id }, { ...text, note }, { expected: 0 });
        },
        release: () => undefined,
      },
      answer: ([record]) => answerOf(answered, record),
    };
  },
};

function newId(kind: string): string {
  return `${kind}_${randomUUID().replaceAll('-', '')}`;
}

/** One answer and all that led to it. */
interface StoredResponse {
  /** The conversation, with the answer, without instructions. */
  readonly messages: readonly ChatMessage[];
  readonly session: SavedSession;
  readonly body: object;
}

const noteSchema = z.strictObject({
  messages: z.array(z.object({ role: z.string(), content: z.string(), name: z.string().optional() })),
  body: z.looseObject({}),
});

/** @throws ApiError without one; LinnetError `FORMAT` or `MISMATCH` for one that is damaged or of another model */
async function storedResponse({ responses: store }: Serving, owner: string, id: string): Promise<StoredResponse> {
  const session = (await store.load({ owner, id }))?.session;
  if (session?.note === undefined) throw noResponse(id);
  try {
    return { session, ...noteSchema.parse(JSON.parse(session.note)) };
  } catch (cause) {
    throw new LinnetError('FORMAT', `response ${id} is damaged in its store`, { cause });
  }
}

function noResponse(id: string): ApiError {
  const message = `there is no response ${id.slice(0, 64)}; it may have been forgotten`;
  return new ApiError('not_found_error', message, { param: 'previous_response_id' });
}

function formatOf({ text }: Fields) {
  const given = text?.format;
  if (given?.type === 'json_object') return { response_format: { ...given, schema: undefined } };
  return given?.type === 'json_schema' ? { json_schema: given.schema } : {};
}

type Status = 'in_progress' | 'completed' | 'incomplete';

function statusOf({ ended }: TextRecord): Status {
  if (ended === undefined) return 'in_progress';
  return finishOf(ended) === 'length' ? 'incomplete' : 'completed';
}

function contentPart(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function messageItem({ itemId }: Answered, record: TextRecord) {
  const status = statusOf(record);
  const content = status === 'in_progress' ? [] : [contentPart(record.choices[0].text)];
  return { id: itemId, type: 'message', role: 'assistant', status, content };
}

function bodyOf(answered: Answered, record: TextRecord) {
  const { fields, model, sampling, id, created } = answered;
  const status = statusOf(record);
  return {
    id,
    object: 'response',
    created_at: created,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    model,
    output: status === 'in_progress' ? [] : [messageItem(answered, record)],
    parallel_tool_calls: false,
    previous_response_id: fields.previous_response_id ?? null,
    store: fields.store ?? true,
    temperature: sampling.temperature ?? 0,
    text: { format: fields.text?.format ?? { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: sampling.topP ?? 1,
    truncation: 'disabled',
    usage: status === 'in_progress' ? null : responseUsage(record),
    metadata: fields.metadata ?? {},
  };
}

function responseUsage(record: TextRecord) {
  const { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details } = usageOf([record]);
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: prompt_tokens_details,
    output_tokens: completion_tokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens,
  };
}

function answerOf(answered: Answered, record: TextRecord): AnswerFold {
  const place = { item_id: answered.itemId, output_index: 0, content_index: 0 };
  return {
    first() {
      const response = bodyOf(answered, record);
      return [
        { type: 'response.created', response },
        { type: 'response.in_progress', response },
        { type: 'response.output_item.added', output_index: 0, item: messageItem(answered, record) },
        { type: 'response.content_part.added', ...place, part: contentPart('') },
      ];
    },
    chunks: (piece) =>
      piece.type === 'text' && piece.event.text !== ''
        ? [{ type: 'response.output_text.delta', ...place, delta: piece.event.text, logprobs: [] }]
        : [],
    last() {
      const { text } = record.choices[0];
      return [
        { type: 'response.output_text.done', ...place, text, logprobs: [] },
        { type: 'response.content_part.done', ...place, part: contentPart(text) },
        { type: 'response.output_item.done', output_index: 0, item: messageItem(answered, record) },
        { type: `response.${statusOf(record)}`, response: bodyOf(answered, record) },
      ];
    },
    whole: () => bodyOf(answered, record),
  };
}

const path = '/v1/responses/{id}';

export const storedResponseRoutes: readonly Route<Serving>[] = [
  {
    ...{ method: 'get', path, summary: 'An earlier answer of /v1/responses' },
    answer: async (serving, { key, params }) => Response.json((await storedResponse(serving, key, params.id)).body),
  },
  {
    ...{ method: 'delete', path, summary: 'Forgets an answer' },
    async answer({ responses: store }, { key, params: { id } }) {
      if (!(await store.remove({ owner: key, id }))) throw noResponse(id);
      return Response.json({ id, object: 'response', deleted: true });
    },
  },
];
