/** POST /v1/responses: answers to input items; later requests may continue from each answer. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { ChatMessage } from '../../../tokenizer/chat-template.ts';
import type { Snapshot } from '../../../decoding/state/session-format.ts';
import { LinnetError } from '../../../errors.ts';
import { ApiError } from '../api-error.ts';
import { chatCall, chatInput, chatMessages } from '../chat-messages.ts';
import type { ServerLimits } from '../limits.ts';
import { answeredName, answerTokens, type Serving } from '../request-context.ts';
import { type Route, route } from '../route.ts';
import { maybe, some } from '../request-fields.ts';
import type { AnswerFold, Dialect } from './dialect.ts';
import { namedFraming } from './event-stream.ts';
import type { CalledAnswer, CalledPart, MadeCall } from '../../../engine/tools/call-reader.ts';
import { finishOf, usageOf } from './answer-parts.ts';
import type { TextRecord } from './records.ts';
import { jsonSchemaField, textFields, askedText } from './text-fields.ts';
import { answerTo, type Calling, callingOf, effortField, effortOf, functionFields, toolFields } from './tool-fields.ts';

const textPart = z.object({
  type: z.enum(['input_text', 'output_text', 'text'], { error: 'only text parts are supported' }),
  text: z.string(),
});

const texts = z.union([z.string(), z.array(textPart).max(1024)], { error: 'expected a text, or text parts' });

const call = { call_id: z.string().max(256), name: z.string().max(256), arguments: z.string() };

const item = z.union(
  [
    z.object({
      type: maybe(z.literal('message')),
      role: z.enum(['system', 'developer', 'user', 'assistant']),
      content: texts,
    }),
    z.object({
      type: z.literal('reasoning'),
      summary: maybe(z.array(z.object({ text: z.string() })).max(1024)),
      content: maybe(z.array(z.object({ text: z.string() })).max(1024)),
    }),
    z.object({ type: z.literal('function_call'), ...call }),
    z.object({ type: z.literal('function_call_output'), call_id: z.string().max(256), output: texts }),
  ],
  { error: 'only items of type "message", "reasoning", "function_call" and "function_call_output" are supported' },
);

/** Input items as messages of a chat: calls are part of the message before them, as they were written. */
function itemMessages(items: readonly z.output<typeof item>[]): ChatMessage[] {
  const sent: Parameters<typeof chatMessages>[0][number][] = [];
  /** Thoughts, which belong to the message after them. */
  let thoughts: string | undefined;
  for (const one of items) {
    if (one.type === 'reasoning') {
      thoughts = [...(one.content ?? one.summary ?? [])].map((part) => part.text).join('');
      continue;
    }
    const told = { reasoning_content: thoughts };
    thoughts = undefined;
    if (one.type === 'function_call') {
      const { call_id: id, name, arguments: json } = one;
      const calls = [{ id, type: 'function' as const, function: { name, arguments: json } }];
      const before = sent.at(-1)?.role === 'assistant' ? sent.pop() : undefined;
      sent.push({ ...told, ...before, role: 'assistant', tool_calls: [...(before?.tool_calls ?? []), ...calls] });
    } else if (one.type === 'function_call_output') {
      sent.push({ role: 'tool', tool_call_id: one.call_id, content: one.output });
    } else sent.push({ ...told, ...one });
  }
  return chatMessages(sent);
}

const format = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({ type: z.literal('json_schema'), schema: jsonSchemaField }),
]);

function schema(limits: ServerLimits) {
  const { model, temperature, top_p, top_k, min_p, seed, stream, stop } = textFields(limits);
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
      error: 'expected a text, or "message" items with text, or function items',
    }),
    instructions: maybe(z.string()),
    max_output_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    text: maybe(z.object({ format: maybe(format) })),
    previous_response_id: maybe(z.string().max(64)),
    store: maybe(z.boolean()),
    reasoning: maybe(z.object({ effort: effortField })),
    metadata: maybe(z.record(z.string().max(64), z.string().max(512))),
    ...toolFields(
      z.object({ type: z.literal('function'), ...functionFields }),
      z.object({ type: z.literal('function'), name: z.string().max(64) }),
    ),
  });
}

type Fields = z.output<ReturnType<typeof schema>>;

interface Answered {
  /** Fields that stay the same throughout an answer. */
  readonly about: object;
  readonly itemId: string;
  readonly thoughtsId: string;
  readonly calling: Calling | undefined;
  readonly callIds: string[];
}

export const responses: Dialect<Fields> = {
  summary: 'Answers input items; a later request can continue from the answer',
  body: schema,
  refusals: {
    background: (value) => value === true,
    conversation: some,
    prompt: some,
    top_logprobs: (value) => some(value) && value !== 0,
  },
  framing: namedFraming,
  async ask(fields, at) {
    const { serving } = at;
    const { previous_response_id: previous, input, instructions } = fields;
    const { responses: store } = serving;
    const owner = at.request.key;
    const before = previous === undefined ? undefined : await storedResponse(serving, owner, previous);
    const added = typeof input === 'string' ? [{ role: 'user', content: input }] : itemMessages(input);
    const messages: ChatMessage[] = [...(before?.messages ?? []), ...added];
    const all = instructions === undefined ? messages : [{ role: 'system', content: instructions }, ...messages];
    const asked = fields.max_output_tokens ?? answerTokens(serving);
    const format = formatOf(fields);
    const { tools, tool_choice: choice, parallel_tool_calls: parallel } = fields;
    const calling = callingOf(serving, { tools, choice, parallel, schema: format.json_schema });
    const effort = effortOf(fields.reasoning?.effort);
    const request = {
      asked,
      thinkingBudget: effort.thinkingBudget,
      ...calling?.held,
      session: serving.model.session(before && { ...before.session, random: undefined }, { runner: serving.runner }),
    };
    const chat = chatInput(serving, { messages: all, isWhole: true, variables: effort.variables }, calling?.tools);
    const text = await askedText({ ...fields, ...format }, at, chat, request);
    const { sampling } = text.job;
    const id = newId('resp');
    const about = {
      id,
      object: 'response',
      created_at: Math.floor(Date.now() / 1000),
      error: null,
      instructions: instructions ?? null,
      max_output_tokens: fields.max_output_tokens ?? null,
      model: answeredName(serving, fields.model),
      parallel_tool_calls: calling !== undefined && parallel !== false,
      previous_response_id: previous ?? null,
      store: fields.store ?? true,
      temperature: sampling.temperature,
      text: { format: fields.text?.format ?? { type: 'text' } },
      tool_choice: choice ?? 'auto',
      tools: tools ?? [],
      top_p: sampling.topP,
      truncation: 'disabled',
      metadata: fields.metadata ?? {},
    };
    const answered = { about, itemId: newId('msg'), thoughtsId: newId('rs'), calling, callIds: [] };
    return {
      texts: [text],
      async keep({ state, tokens, random }, record) {
        if (fields.store === false) return;
        const { content, thoughts, calls } = answerIn(answered, record);
        const said = chatMessages([
          { role: 'assistant', content, reasoning_content: thoughts, tool_calls: calls.map(chatCall) },
        ]);
        const note = JSON.stringify({ messages: [...messages, ...said], body: bodyOf(answered, record) });
        await store.write({ owner, id }, { state, tokens, random, note }, { expected: 0 });
      },
      answer: answerOf(answered, text),
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
  readonly session: Snapshot;
  readonly body: object;
}

const noteSchema = z.strictObject({
  messages: z.array(
    z.object({
      role: z.string(),
      content: z.string(),
      name: z.string().optional(),
      reasoning_content: z.string().optional(),
      thinking: z.string().optional(),
      tool_calls: z.array(z.unknown()).optional(),
      tool_call_id: z.string().optional(),
    }),
  ),
  body: z.looseObject({}),
});

/** @throws ApiError without one; LinnetError `FORMAT` or `MISMATCH` for a damaged one or another model's */
async function storedResponse({ responses: store }: Serving, owner: string, id: string): Promise<StoredResponse> {
  const session = (await store.read({ owner, id }))?.session;
  if (session?.note === undefined) throw noResponse(id);
  try {
    return { session, ...noteSchema.parse(JSON.parse(session.note)) };
  } catch (cause) {
    throw new LinnetError('FORMAT', `stored response ${id} is damaged; begin a new one`, { cause });
  }
}

function noResponse(id: string): ApiError {
  const message = `there is no response ${id.slice(0, 64)}; it may have been forgotten`;
  return new ApiError('not_found_error', message, { param: 'previous_response_id' });
}

function formatOf({ text }: Fields) {
  const form = text?.format ?? { type: 'text' };
  if (form.type === 'text') return {};
  return { json_schema: form.type === 'json_schema' ? form.schema : { type: 'object' } };
}

type Status = 'in_progress' | 'completed' | 'incomplete';

function statusOf({ ended }: TextRecord): Status {
  if (ended === undefined) return 'in_progress';
  return finishOf(ended) === 'length' ? 'incomplete' : 'completed';
}

function contentPart(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function messageItem({ itemId }: Answered, status: Status, text: string) {
  const content = status === 'in_progress' ? [] : [contentPart(text)];
  return { id: itemId, type: 'message', role: 'assistant', status, content };
}

function thoughtsItem({ thoughtsId }: Answered, status: Status, text: string) {
  const content = status === 'in_progress' ? [] : [{ type: 'reasoning_text', text }];
  return { id: thoughtsId, type: 'reasoning', status, summary: [], content };
}

function callItem({ callId, name, json }: MadeCall, status: Status) {
  return { id: `fc_${callId}`, type: 'function_call', status, call_id: callId, name, arguments: json };
}

/** The whole text of an answer, with its calls. */
function answerIn({ calling, callIds }: Answered, record: TextRecord): CalledAnswer {
  const answer = answerTo(record, calling, callIds);
  answer.push(record.choices[0].text);
  answer.end();
  return answer;
}

function outputOf(answered: Answered, record: TextRecord): object[] {
  const status = statusOf(record);
  if (status === 'in_progress') return [];
  const answer = answerIn(answered, record);
  const { content, thoughts, calls } = answer;
  // A stop string may cut the last call short.
  const last = answer.isCut ? 'incomplete' : status;
  const of = (index: number) => (index < calls.length - 1 ? 'completed' : last);
  const text = content !== '' || calls.length === 0 ? [messageItem(answered, of(-1), content)] : [];
  const thought = thoughts === '' ? [] : [thoughtsItem(answered, 'completed', thoughts)];
  return [...thought, ...text, ...calls.map((call, index) => callItem(call, of(index)))];
}

function bodyOf(answered: Answered, record: TextRecord) {
  const status = statusOf(record);
  return {
    ...answered.about,
    status,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    output: outputOf(answered, record),
    usage: status === 'in_progress' ? null : responseUsage(record),
  };
}

function responseUsage(record: TextRecord) {
  const { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details, completion_tokens_details } = usageOf([
    record,
  ]);
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: prompt_tokens_details,
    output_tokens: completion_tokens,
    output_tokens_details: completion_tokens_details,
    total_tokens,
  };
}

function answerOf(answered: Answered, record: TextRecord): AnswerFold {
  const answer = answerTo(record, answered.calling, answered.callIds);
  /** The item that grows: the thoughts, the text, or a call. */
  let open: 'thoughts' | 'text' | MadeCall | undefined;
  let output = -1;
  const place = () =>
    typeof open === 'object'
      ? { item_id: `fc_${open.callId}`, output_index: output }
      : {
          item_id: open === 'thoughts' ? answered.thoughtsId : answered.itemId,
          output_index: output,
          content_index: 0,
        };
  const item = (status: Status) =>
    typeof open === 'object'
      ? callItem(open, status)
      : open === 'thoughts'
        ? thoughtsItem(answered, status, answer.thoughts)
        : messageItem(answered, status, answer.content);
  const end = (status: Status): object[] => {
    if (open === undefined) return [];
    const done = { type: 'response.output_item.done', output_index: output, item: item(status) };
    if (open === 'thoughts') return [{ type: 'response.reasoning_text.done', ...place(), text: answer.thoughts }, done];
    if (open !== 'text') {
      const { name, json } = open;
      return [{ type: 'response.function_call_arguments.done', ...place(), name, arguments: json }, done];
    }
    const { content: text } = answer;
    return [
      { type: 'response.output_text.done', ...place(), text, logprobs: [] },
      { type: 'response.content_part.done', ...place(), part: contentPart(text) },
      done,
    ];
  };
  const begin = (next: 'thoughts' | 'text' | MadeCall): object[] => {
    const ended = end('completed');
    open = next;
    output++;
    const added = { type: 'response.output_item.added', output_index: output, item: item('in_progress') };
    if (next !== 'text') return [...ended, added];
    return [...ended, added, { type: 'response.content_part.added', ...place(), part: contentPart('') }];
  };
  const told = (part: CalledPart): object[] => {
    if (part.type === 'thought') {
      const begun = open === 'thoughts' ? [] : begin('thoughts');
      return [...begun, { type: 'response.reasoning_text.delta', ...place(), delta: part.text }];
    }
    if (part.type === 'call') return begin(part.call);
    if (part.type !== 'text') {
      return [{ type: 'response.function_call_arguments.delta', ...place(), delta: part.json }];
    }
    const begun = open === 'text' ? [] : begin('text');
    if (part.text === '') return begun;
    return [...begun, { type: 'response.output_text.delta', ...place(), delta: part.text, logprobs: [] }];
  };
  return {
    first() {
      const response = bodyOf(answered, record);
      return [
        { type: 'response.created', response },
        { type: 'response.in_progress', response },
        ...(answered.calling === undefined && record.job.thinking === undefined ? begin('text') : []),
      ];
    },
    chunks: (piece) => (piece.type === 'text' ? answer.push(piece.event.text).flatMap(told) : []),
    last() {
      const held = answer.end().flatMap(told);
      const only = open === undefined || open === 'thoughts' ? begin('text') : [];
      const status = statusOf(record);
      return [
        ...held,
        ...only,
        ...end(answer.isCut ? 'incomplete' : status),
        { type: `response.${status}`, response: bodyOf(answered, record) },
      ];
    },
    whole: () => bodyOf(answered, record),
  };
}

const path = '/v1/responses/{id}';

export const storedResponseRoutes: readonly Route<Serving>[] = [
  route('get', path, 'Gives an earlier answer', async (serving: Serving, { key, params }) =>
    Response.json((await storedResponse(serving, key, params.id)).body),
  ),
  route('delete', path, 'Deletes an answer', async ({ responses: store }: Serving, { key, params: { id } }) => {
    if (!(await store.delete({ owner: key, id }))) throw noResponse(id);
    return Response.json({ id, object: 'response', deleted: true });
  }),
];
