/** POST /api/generate and /api/chat: the endpoints of Ollama, with its fields, defaults, answers and streams of lines. */
import { z } from 'zod';
import type { SamplerInput } from '../../../decoding/sampler.ts';
import type { PromptInput } from '../../../engine/prompt.ts';
import type { PlacedScore } from '../../../engine/text/scores.ts';
import type { CalledPart, MadeCall } from '../../../engine/tools/call-reader.ts';
import { chatInput, chatMessages, type SentMessage } from '../chat-messages.ts';
import type { ServerLimits } from '../limits.ts';
import { answerTokens, taggedName, type Serving } from '../request-context.ts';
import {
  callText,
  checkInVocabulary,
  maybe,
  modelName,
  optionalFlag,
  optionalText,
  refuse,
  some,
  tokenId,
} from '../request-fields.ts';
import type { AnswerFold, Asked, At, Dialect } from './dialect.ts';
import { lineFraming } from './event-stream.ts';
import { chatLogprobs, timingsOf, finishOf, visibleScores } from './answer-parts.ts';
import type { TextRecord } from './records.ts';
import { commonSampling, jsonSchemaField, samplingFields, askedText } from './text-fields.ts';
import { answerTo, type Calling, callingOf, functionFields, mostTools } from './tool-fields.ts';
import { whole } from '../../../files/schema-values.ts';

/** Maximum tokens if a request sets no limit. */
const unboundedTokens = 4096;

/** A setting with a single supported value. */
const only = (value: number) => maybe(z.literal(value, { error: `only ${value} is supported` }));

function fieldsOf(limits: ServerLimits) {
  const { temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, seed, stop } = samplingFields(limits);
  return {
    model: modelName,
    stream: optionalFlag.transform((value = true) => value),
    format: maybe(z.union([z.enum(['', 'json']), jsonSchemaField], { error: 'expected "json" or a JSON schema' })),
    keep_alive: maybe(z.union([z.string().max(64), z.number()])),
    think: maybe(z.union([z.boolean(), z.enum(['low', 'medium', 'high'])])),
    logprobs: optionalFlag,
    top_logprobs: maybe(whole(0, limits.logprobs)),
    options: maybe(
      z.object({
        temperature,
        top_p,
        top_k,
        min_p,
        presence_penalty,
        frequency_penalty,
        seed,
        stop,
        repeat_penalty: maybe(z.number().min(0.01).max(100)),
        repeat_last_n: maybe(whole(-1, 65536)),
        num_predict: maybe(whole(-2, limits.maxTokens)),
        mirostat: only(0),
        typical_p: only(1),
        tfs_z: only(1),
      }),
    ),
  };
}

type Fields = z.output<z.ZodObject<ReturnType<typeof fieldsOf>>>;

const generateSchema = (limits: ServerLimits) =>
  z.object({
    ...fieldsOf(limits),
    prompt: optionalText,
    system: optionalText,
    raw: optionalFlag,
    context: maybe(z.array(tokenId).max(limits.promptTokens)),
  });

export const ollamaGenerate: Dialect<z.output<ReturnType<typeof generateSchema>>> = {
  summary: "Answers a prompt, in Ollama's format",
  body: generateSchema,
  refusals: { suffix: some, images: some, template: some },
  framing: lineFraming,
  async ask(fields, at) {
    const { serving } = at;
    const { prompt: text = '', system = '', raw = false, context = [] } = fields;
    if (raw && (system !== '' || context.length > 0))
      refuse('a raw prompt takes no "system" or "context"; leave them out', 'raw');
    checkInVocabulary(context, serving.model.vocabulary, 'context');
    const turns = [
      { role: 'system', content: system },
      { role: 'user', content: text },
    ];
    const isTurn = !raw && (serving.model.template !== undefined || system !== '');
    const input = (): PromptInput => {
      if (!isTurn) return { text };
      const messages = turns.filter(({ content }) => content !== '');
      return chatInput(serving, { messages, variables: variablesOf(fields) });
    };
    return asked(fields, at, {
      input: text === '' ? undefined : input,
      after: context,
      shape: (response, _, thinking) => ({ response, thinking: thinking || undefined }),
      more: ({ job, choices: [{ tokens }] }) => (raw ? {} : { context: [...job.prompt.tokens, ...tokens] }),
    });
  },
};

const message = z.object({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  content: optionalText,
  thinking: optionalText,
  images: maybe(z.array(z.unknown()).max(0, { error: 'images are not supported' })),
  tool_calls: maybe(
    z
      .array(
        z.object({
          id: maybe(callText),
          function: z.object({ name: callText, arguments: z.record(z.string(), z.unknown()) }),
        }),
      )
      .max(128),
  ),
  tool_name: maybe(callText),
  tool_call_id: maybe(callText),
});

const chatSchema = (limits: ServerLimits) =>
  z.object({
    ...fieldsOf(limits),
    messages: maybe(z.array(message).max(limits.messages)),
    tools: maybe(z.array(z.object({ function: z.object(functionFields) })).max(mostTools)),
  });

export const ollamaChat: Dialect<z.output<ReturnType<typeof chatSchema>>> = {
  summary: "Answers messages, in Ollama's format",
  body: chatSchema,
  refusals: {},
  framing: lineFraming,
  ask(fields, at) {
    const { serving } = at;
    const { messages = [], tools } = fields;
    const schema = schemaOf(fields);
    const calling = callingOf(serving, { tools: tools?.map((tool) => tool.function), schema });
    const sent = { messages: chatMessages(sentMessages(messages)), variables: variablesOf(fields) };
    const input = () => chatInput(serving, sent, calling?.tools);
    return asked(fields, at, { input: messages.length === 0 ? undefined : input, calling, shape: messageOf });
  },
};

/** Messages as chats of OpenAI have them. Results name their function here, and commonly no call. */
function sentMessages(messages: readonly z.output<typeof message>[]): SentMessage[] {
  const open: { readonly id: string; readonly name: string }[] = [];
  let count = 0;
  return messages.map(({ role, content, thinking, tool_calls: calls, tool_name: name, tool_call_id: callId }) => {
    const made = calls?.map(({ id = `call${String(count++).padStart(5, '0')}`, function: called }) => {
      open.push({ id, name: called.name });
      return { id, type: undefined, function: { name: called.name, arguments: JSON.stringify(called.arguments) } };
    });
    if (role !== 'tool') return { role, content, reasoning_content: thinking, tool_calls: made };
    const place = Math.max(
      0,
      open.findIndex((call) => call.id === callId || call.name === name),
    );
    const [answered] = open.splice(place, 1);
    return { role, content, name, tool_call_id: callId ?? answered?.id };
  });
}

function messageOf(content: string, calls: readonly MadeCall[], thinking: string): object {
  const tool_calls = calls.map(({ callId: id, name, json }, index) => {
    const input: unknown = JSON.parse(json);
    return { id, function: { index, name, arguments: input } };
  });
  return {
    message: { role: 'assistant', content, thinking: thinking || undefined, ...(calls.length > 0 && { tool_calls }) },
  };
}

function schemaOf({ format = '' }: Fields) {
  if (format === '') return undefined;
  return format === 'json' ? { type: 'object' } : format;
}

/** Sampling of requests that do not say how, and of models that do not either. */
const ollamaDefaults: SamplerInput = {
  temperature: 0.8,
  topP: 0.9,
  topK: 40,
  repetitionPenalty: 1.1,
  repetitionWindow: 64,
};

function samplingOf(options: Partial<NonNullable<Fields['options']>>): SamplerInput {
  const { repeat_penalty: repetitionPenalty, repeat_last_n: window, seed } = options;
  return {
    ...commonSampling({ ...options, seed: seed === -1 ? undefined : seed }),
    repetitionPenalty,
    repetitionWindow: window === -1 ? 65536 : window,
  };
}

function variablesOf({ think }: Fields) {
  if (think === undefined) return undefined;
  return { enable_thinking: think !== false, ...(typeof think === 'string' && { reasoning_effort: think }) };
}

/** The parts of an answer that differ between prompts and messages. */
interface Answering {
  /** Undefined if there is nothing to answer: Ollama then loads the model. */
  readonly input: (() => PromptInput) | undefined;
  /** Tokens before it. */
  readonly after?: readonly number[];
  readonly calling?: Calling | undefined;
  readonly shape: (content: string, calls: readonly MadeCall[], thoughts: string) => object;
  /** Fields of the last part. */
  readonly more?: (record: TextRecord) => object;
}

async function asked(fields: Fields, at: At, answering: Answering): Promise<Asked> {
  const { serving } = at;
  const { logprobs = false, top_logprobs: top = 0 } = fields;
  const options: Partial<NonNullable<Fields['options']>> = fields.options ?? {};
  const started = performance.now();
  const model = taggedName(serving, fields.model);
  const { input, after, calling, shape } = answering;
  const { num_predict: most = answerTokens(serving), stop } = options;
  const request = {
    asked: most > 0 ? most : unboundedTokens,
    text: logprobs ? top : undefined,
    sampling: samplingOf(options),
    defaults: ollamaDefaults,
    after,
    thinkingBudget: fields.think === false ? 0 : undefined,
    ...calling?.held,
  };
  const head = () => ({ model, created_at: new Date().toISOString() });
  if (input === undefined) {
    const loaded = () => ({ ...head(), ...shape('', [], ''), done: true, done_reason: 'load' });
    return { texts: [], answer: { chunks: () => [], last: () => [loaded()], whole: loaded } };
  }
  const text = await askedText({ stop, json_schema: schemaOf(fields) }, at, input(), request);
  return { texts: [text], answer: answerOf(fields, serving.model, head, started, answering, text) };
}

function answerOf(
  fields: Fields,
  { pieces }: Serving['model'],
  head: () => object,
  started: number,
  { calling, shape, more }: Answering,
  record: TextRecord,
): AnswerFold {
  const nanoseconds = (milliseconds: number): number => Math.round(1e6 * milliseconds);
  const [choice] = record.choices;
  const answer = answerTo(record, calling);
  let told = 0;
  /** The text of parts, and the calls that have become complete. */
  const said = (parts: readonly CalledPart[]): object => {
    const calls = answer.calls.slice(told, answer.calls.length - (answer.isCut ? 1 : 0));
    told += calls.length;
    const joined = (type: 'text' | 'thought'): string =>
      parts.map((part) => (part.type === type ? part.text : '')).join('');
    return shape(joined('text'), calls, joined('thought'));
  };
  const logprobs = (scores: readonly PlacedScore[]) =>
    fields.logprobs === true ? { logprobs: chatLogprobs(scores, (id) => pieces.of(id), pieces).content } : {};
  const ending = (): object => {
    if (choice.end === undefined) return { done: false };
    const timings = timingsOf(record, choice.end);
    return {
      done: true,
      done_reason: finishOf(choice.end),
      total_duration: nanoseconds(performance.now() - started),
      load_duration: 0,
      prompt_eval_count: record.prompt.length,
      prompt_eval_duration: nanoseconds(timings.prompt_ms),
      eval_count: choice.tokens.length,
      eval_duration: nanoseconds(timings.predicted_ms),
      ...more?.(record),
    };
  };
  return {
    chunks(piece) {
      if (piece.type === 'text') {
        const { text, scores } = piece.event;
        const before = told;
        const parts = answer.push(text);
        const chunk = { ...head(), ...said(parts), done: false, ...logprobs(scores) };
        return parts.some((part) => 'text' in part && part.text !== '') || told > before || scores.length > 0
          ? [chunk]
          : [];
      }
      if (piece.type !== 'end') return [];
      const rest = visibleScores(choice).slice(choice.scores.length);
      return [{ ...head(), ...said(answer.end()), ...logprobs(rest), ...ending() }];
    },
    whole() {
      const parts = [...answer.push(choice.text), ...answer.end()];
      return { ...head(), ...said(parts), ...logprobs(visibleScores(choice)), ...ending() };
    },
  };
}
