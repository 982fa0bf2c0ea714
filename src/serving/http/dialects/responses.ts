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
import { callText, maybe, optionalFlag, optionalText, some } from '../request-fields.ts';
import type { Dialect } from './dialect.ts';
import { namedFraming } from './event-stream.ts';
import { usageOf } from './answer-parts.ts';
import type { TextRecord } from './records.ts';
import { responseOf, ResponseOutput } from './response-output.ts';
import { jsonSchemaField, textFields, askedText } from './text-fields.ts';
import { allowedFields, callingOf, effortField, effortOf, functionFields, toolFields } from './tool-fields.ts';

const textPart = z.object({
  type: z.enum(['input_text', 'output_text', 'text'], { error: 'only text parts are supported' }),
  text: z.string(),
});

const texts = z.union([z.string(), z.array(textPart).max(1024)], { error: 'expected a text, or text parts' });

const call = { call_id: callText, name: callText, arguments: z.string() };

const thoughtParts = maybe(z.array(z.object({ text: z.string() })).max(1024));

const writtenItem = z.union([
  z.object({
    type: maybe(z.literal('message')),
    role: z.enum(['system', 'developer', 'user', 'assistant']),
    content: texts,
  }),
  z.object({
    type: z.literal('reasoning'),
    summary: thoughtParts,
    content: thoughtParts,
  }),
  z.object({ type: z.literal('function_call'), ...call }),
  z.object({ type: z.literal('function_call_output'), call_id: callText, output: texts }),
]);

type WrittenItem = z.output<typeof writtenItem>;

const item = z.union(
  [...writtenItem.options, z.object({ type: z.literal('item_reference'), id: z.string().max(64) })],
  {
    error:
      'only items of type "message", "reasoning", "function_call", "function_call_output" and "item_reference" are supported',
  },
);

/** Input items as messages of a chat: calls are part of the message before them, as they were written. */
function itemMessages(items: readonly WrittenItem[]): ChatMessage[] {
  const sent: Parameters<typeof chatMessages>[0][number][] = [];
  /** Thoughts, which belong to the message after them. */
  let thoughts: string | undefined;
  for (const one of items) {
    if (one.type === 'reasoning') {
      thoughts = (one.content ?? one.summary ?? []).map((part) => part.text).join('');
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

/** Input items with those in place that refer to items of earlier answers. @throws like `storedResponse` */
async function itemsIn(items: readonly z.output<typeof item>[], serving: Serving, owner: string) {
  const outputs = new Map<string, StoredResponse['body']['output']>();
  const written: WrittenItem[] = [];
  for (const one of items) {
    if (one.type !== 'item_reference') {
      written.push(one);
      continue;
    }
    const missing = forgotten(`item ${one.id}`, 'input');
    const response = responseOf(one.id);
    if (response === undefined) throw missing;
    const output = outputs.get(response) ?? (await storedResponse(serving, owner, response, missing)).body.output;
    outputs.set(response, output);
    const referred = output.find(({ id }) => id === one.id);
    if (referred === undefined) throw missing;
    written.push(writtenItem.parse(referred));
  }
  return written;
}

const format = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({ type: z.literal('json_schema'), schema: jsonSchemaField }),
]);

const namedTool = z.object({ type: z.literal('function'), name: z.string().max(64) });

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
    instructions: optionalText,
    max_output_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    text: maybe(z.object({ format: maybe(format) })),
    previous_response_id: maybe(z.string().max(64)),
    store: optionalFlag,
    reasoning: maybe(z.object({ effort: effortField })),
    metadata: maybe(z.record(z.string().max(64), z.string().max(512))),
    ...toolFields(
      z.object({ type: z.literal('function'), ...functionFields }),
      namedTool,
      z.object({ type: z.literal('allowed_tools'), ...allowedFields(namedTool) }),
    ),
  });
}

type Fields = z.output<ReturnType<typeof schema>>;

export const responses: Dialect<Fields> = {
  summary: 'Answers input items; a later request can continue from the answer',
  body: schema,
  refusals: {
    background: (value) => value === true,
    conversation: some,
    prompt: some,
    include: (value) => Array.isArray(value) && value.includes('message.output_text.logprobs'),
    top_logprobs: (value) => some(value) && value !== 0,
  },
  framing: namedFraming,
  async ask(fields, at) {
    const { serving } = at;
    const { previous_response_id: previous, input, instructions } = fields;
    const { responses: store } = serving;
    const owner = at.request.key;
    const before = previous === undefined ? undefined : await storedResponse(serving, owner, previous);
    const added =
      typeof input === 'string'
        ? [{ role: 'user', content: input }]
        : itemMessages(await itemsIn(input, serving, owner));
    const messages: ChatMessage[] = [...(before?.messages ?? []), ...added];
    const all = instructions === undefined ? messages : [{ role: 'system', content: instructions }, ...messages];
    const format = formatOf(fields);
    const { tools, tool_choice: choice, parallel_tool_calls: parallel } = fields;
    const calling = callingOf(serving, { tools, choice, parallel, schema: format.json_schema });
    const effort = effortOf(fields.reasoning?.effort);
    const request = {
      asked: fields.max_output_tokens ?? answerTokens(serving),
      thinkingBudget: effort.thinkingBudget,
      ...calling?.held,
      session: serving.model.session(before && { ...before.session, random: undefined }, { runner: serving.runner }),
    };
    const chat = chatInput(serving, { messages: all, isWhole: true, variables: effort.variables }, calling?.tools);
    const text = await askedText({ ...fields, ...format }, at, chat, request);
    const { sampling } = text.job;
    const id = `resp_${randomUUID().replaceAll('-', '')}`;
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
    const output = new ResponseOutput(id, text, calling);
    const body = () => bodyOf(about, output, text);
    return {
      texts: [text],
      async keep({ state, tokens, random }) {
        if (fields.store === false) return;
        const answered = body();
        const { content, thoughts, calls } = output.answer;
        const said = chatMessages([
          { role: 'assistant', content, reasoning_content: thoughts, tool_calls: calls.map(chatCall) },
        ]);
        const note = { messages: [...messages, ...said], body: answered };
        await store.write({ owner, id }, { state, tokens, random, note: JSON.stringify(note) }, { expected: 0 });
      },
      answer: {
        first() {
          const response = body();
          return [
            { type: 'response.created', response },
            { type: 'response.in_progress', response },
            ...output.events(),
          ];
        },
        chunks: () => output.events(),
        last: () => [{ type: `response.${output.status}`, response: body() }],
        whole: body,
      },
    };
  },
};

/** One answer and all that led to it. */
interface StoredResponse {
  /** The conversation, with the answer, without instructions. */
  readonly messages: readonly ChatMessage[];
  readonly session: Snapshot;
  readonly body: z.output<typeof noteSchema>['body'];
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
  body: z.looseObject({ output: z.array(z.looseObject({ id: z.string() })) }),
});

/** @throws ApiError without one, `missing`; LinnetError `FORMAT` or `MISMATCH` for a damaged one or another model's */
async function storedResponse(
  { responses: store }: Serving,
  owner: string,
  id: string,
  missing = forgotten(`response ${id}`, 'previous_response_id'),
): Promise<StoredResponse> {
  const session = (await store.read({ owner, id }))?.session;
  if (session?.note === undefined) throw missing;
  try {
    return { session, ...noteSchema.parse(JSON.parse(session.note)) };
  } catch (cause) {
    throw new LinnetError('FORMAT', `stored response ${id} is damaged; begin a new one`, { cause });
  }
}

function forgotten(what: string, param: string): ApiError {
  return new ApiError('not_found_error', `there is no ${what.slice(0, 80)}; it may have been forgotten`, { param });
}

function formatOf({ text }: Fields) {
  const form = text?.format ?? { type: 'text' };
  if (form.type === 'text') return {};
  return { json_schema: form.type === 'json_schema' ? form.schema : { type: 'object' } };
}

function bodyOf(about: object, output: ResponseOutput, record: TextRecord) {
  const { status } = output;
  return {
    ...about,
    status,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    output: output.items(),
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

const path = '/v1/responses/{id}';

export const storedResponseRoutes: readonly Route<Serving>[] = [
  route('get', path, 'Gives an earlier answer', async (serving: Serving, { key, params }) =>
    Response.json((await storedResponse(serving, key, params.id)).body),
  ),
  route('delete', path, 'Deletes an answer', async ({ responses: store }: Serving, { key, params: { id } }) => {
    if (!(await store.delete({ owner: key, id }))) throw forgotten(`response ${id}`, 'previous_response_id');
    return Response.json({ id, object: 'response', deleted: true });
  }),
];
