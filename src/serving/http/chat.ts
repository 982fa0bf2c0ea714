/** POST /v1/chat/completions: answers to messages, by the model's chat template. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { PlacedScore } from '../../engine/text/score-stream.ts';
import type { ServiceEvent, ServiceJob } from '../../engine/text/text-service.ts';
import { ApiError, asApiError } from './api-error.ts';
import { chatMessages, chatPrompt, messageSchema } from './chat-messages.ts';
import { progressOf, timingsOf } from './timings.ts';
import { formatFields, jsonOf } from './response-format.ts';
import { dataEvent, doneEvent, eventStream } from './event-stream.ts';
import { perLimits } from './limits.ts';
import { withWarning } from './length-warning.ts';
import { promptLogprobs, promptScoring } from './prompt-logprobs.ts';
import { ProgressFields } from './progress-fields.ts';
import { type TokenNames, tokenNames } from './token-names.ts';
import { onSession, startJob, withTurn } from './session-routes.ts';
import { type ApiRequest, checkModel, type Serving, identityOf, tokensLeft, usageOf } from './request-context.ts';
import {
  checkBody,
  checkToken,
  commonRefusals,
  leastTokensOf,
  maybe,
  type Refusals,
  saltOf,
  samplingFields,
  samplingOf,
  stopsOf,
} from './request-fields.ts';

const variableValue = z.union([z.string().max(4096), z.number(), z.boolean(), z.null()]);

export const chatSchema = perLimits((limits) => {
  return z.object({
    ...samplingFields(limits),
    ...formatFields,
    messages: z.array(messageSchema).min(1).max(limits.messages),
    max_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    max_completion_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    logprobs: maybe(z.boolean()),
    top_logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    add_generation_prompt: maybe(z.boolean()),
    chat_template_kwargs: maybe(z.record(z.string().max(64), variableValue)),
  });
});

type ChatFields = z.output<ReturnType<typeof chatSchema>>;

const filled = (value: unknown): boolean =>
  value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);

const chatRefusals: Refusals = {
  ...commonRefusals,
  tools: filled,
  functions: filled,
  tool_choice: (value) => filled(value) && value !== 'none' && value !== 'auto',
  audio: filled,
  prediction: filled,
  web_search_options: filled,
  echo: (value) => value === true,
  continue_final_message: (value) => value === true,
  modalities: (value) => filled(value) && JSON.stringify(value) !== '["text"]',
};

/** What messages come to when nothing says how long an answer may be. */
const defaultMaxTokens = 4096;

interface Chat {
  readonly fields: ChatFields;
  readonly job: ServiceJob;
  readonly head: Readonly<Record<'id' | 'model' | 'system_fingerprint', string>> & { readonly created: number };
}

/** Answers the request. @throws ApiError, and as `TextService.start` */
export async function chatCompletions(serving: Serving, request: ApiRequest): Promise<Response> {
  const prepared = prepare(serving, request);
  const { session_id: id, session_version: version, seed } = prepared.fields;
  // A client sends all messages, as ever; the session holds the state of those that it has seen.
  const session =
    id === undefined
      ? undefined
      : await onSession(serving, prepared.job, { id, version, seeded: seed !== undefined }, () => prepared.job.prompt);
  const chat = { ...prepared, job: session?.job ?? prepared.job };
  const started = startJob(serving, chat.job, session?.turn);
  const events = session === undefined ? started : withTurn(started, session.turn, chat.job.prompt);
  if (chat.fields.stream === true) {
    const stream = eventStream(streamed(serving, chat, events), () => {
      request.abort.abort();
    });
    return withWarning(serving, [chat.job.prompt], stream);
  }
  return withWarning(serving, [chat.job.prompt], Response.json(await collected(serving, chat, events)));
}

function prepare(serving: Serving, request: ApiRequest): Chat {
  const { model, limits } = serving;
  const fields = checkBody(chatSchema(limits), request.body, chatRefusals);
  checkModel(serving, fields.model);
  const { n = 1, best_of: bestOf = n, logprobs = false, top_logprobs: top = 0 } = fields;
  if (bestOf !== n) throw new ApiError('invalid_request_error', '"best_of" is not supported', { param: 'best_of' });
  if (top > 0 && !logprobs) {
    throw new ApiError('invalid_request_error', '"top_logprobs" needs "logprobs"', { param: 'top_logprobs' });
  }
  const vocabulary = model.engine.model.sizes.vocabulary;
  for (const id of fields.stop_token_ids ?? []) checkToken(id, vocabulary, 'stop_token_ids');
  const json = jsonOf(serving, fields);
  const { tokens: prompt, keepAt } = chatPrompt(serving, {
    messages: chatMessages(fields.messages),
    addGenerationPrompt: fields.add_generation_prompt,
    variables: fields.chat_template_kwargs,
  });
  const asked = fields.max_completion_tokens ?? fields.max_tokens ?? defaultMaxTokens;
  const job = {
    key: request.key,
    salt: saltOf(request, fields),
    prompt,
    maxTokens: tokensLeft(serving, prompt.length, asked),
    n,
    sampling: samplingOf(fields, vocabulary),
    stop: stopsOf(fields),
    stopIds: fields.stop_token_ids ?? [],
    keepStop: fields.include_stop_str_in_output,
    priority: fields.priority,
    ignoreEos: fields.ignore_eos ?? false,
    leastTokens: leastTokensOf(fields, asked, json),
    json,
    logprobs: logprobs ? top : undefined,
    ...promptScoring(fields),
    progress: fields.return_progress,
    drafter: fields.speculate,
    trees: fields.stream_options?.include_tree === true,
    boundaries: keepAt,
    signal: request.abort.signal,
  };
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), ...identityOf(serving) };
  return { fields, job, head };
}

function logprobsOf(scores: readonly PlacedScore[], fields: ChatFields, { pieces }: Serving['model']) {
  const names: TokenNames = tokenNames(fields, pieces);
  const entry = (token: number, logprob: number) => ({
    token: names(token),
    logprob,
    bytes: pieces.bytesOf(token),
  });
  return {
    content: scores.map(({ token, logprob, top }) => ({
      ...entry(token, logprob),
      top_logprobs: top.map((other) => entry(other.token, other.logprob)),
    })),
    refusal: null,
  };
}

/** A token that ends a text is not in it, and so not in its log-probabilities. */
function visible(event: Extract<ServiceEvent, { type: 'end' }>, emitted: number): readonly PlacedScore[] {
  return event.scores.slice(0, Math.max(0, event.generation.tokens.length - emitted));
}

/** What is known of the prompt when it has been read. */
type ReadPrompt = Pick<Extract<ServiceEvent, { type: 'prompt' }>, 'cached' | 'seconds' | 'scores'>;

async function collected({ model }: Serving, { fields, job, head }: Chat, events: AsyncIterable<ServiceEvent>) {
  const texts = Array.from({ length: job.n }, () => '');
  const scores = texts.map((): PlacedScore[] => []);
  const finishes = texts.map((): 'stop' | 'length' => 'stop');
  let read: ReadPrompt = { cached: 0, seconds: 0, scores: [] };
  const ids = texts.map((): readonly number[] => []);
  let written = 0;
  let timings = {};
  for await (const event of events) {
    if (event.type === 'progress') continue;
    if (event.type === 'prompt') {
      read = event;
      continue;
    }
    const { choice } = event;
    if (event.type === 'text') {
      texts[choice] += event.text;
      scores[choice].push(...event.scores);
      continue;
    }
    scores[choice].push(...visible(event, scores[choice].length));
    finishes[choice] = event.finish;
    ids[choice] = event.generation.tokens;
    written += event.generation.tokens.length;
    timings = timingsOf(read, event);
  }
  return {
    ...head,
    ...(fields.return_token_ids === true && { prompt_token_ids: job.prompt }),
    object: 'chat.completion',
    choices: texts.map((content, index) => ({
      index,
      message: { role: 'assistant', content, refusal: null },
      logprobs: fields.logprobs === true ? logprobsOf(scores[index], fields, model) : null,
      finish_reason: finishes[index],
      ...(fields.return_token_ids === true && { token_ids: ids[index] }),
    })),
    usage: usageOf(job.prompt.length, written, read.cached),
    timings,
    ...(fields.prompt_logprobs !== undefined && {
      prompt_logprobs: promptLogprobs(read.scores, fields.prompt_logprobs, tokenNames(fields, model.pieces)),
    }),
  };
}

async function* streamed(
  { model }: Serving,
  { fields, job, head }: Chat,
  events: AsyncIterable<ServiceEvent>,
): AsyncGenerator<string, void, undefined> {
  const withUsage = fields.stream_options?.include_usage === true;
  const progress = new ProgressFields(fields, model.pieces);
  const usageSoFar = () =>
    usageOf(
      job.prompt.length,
      counts.reduce((sum, count) => sum + count, 0),
      read.cached,
    );
  const chunk = (index: number, delta: object, rest: object, linnet: object): string =>
    dataEvent({
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index, delta, logprobs: null, finish_reason: null, ...rest }],
      ...(withUsage && { usage: always ? usageSoFar() : null }),
      ...linnet,
    });
  const logprobs = (scores: readonly PlacedScore[]) =>
    fields.logprobs === true ? { logprobs: logprobsOf(scores, fields, model) } : {};
  const counts = Array.from({ length: job.n }, () => 0);
  const always = fields.stream_options?.continuous_usage_stats === true;
  const withIds = (ids: readonly number[]) => (fields.return_token_ids === true ? { token_ids: ids } : {});
  const emitted = Array.from({ length: job.n }, () => 0);
  let read: ReadPrompt = { cached: 0, seconds: 0, scores: [] };
  let timings = {};
  try {
    for await (const event of events) {
      if (event.type === 'progress') {
        yield dataEvent({ ...head, object: 'chat.completion.chunk', choices: [], prompt_progress: progressOf(event) });
        continue;
      }
      const linnet = progress.of(event);
      if (event.type === 'prompt') {
        read = event;
        const prompt = fields.return_token_ids === true ? { prompt_token_ids: job.prompt } : {};
        for (let index = 0; index < job.n; index++) {
          yield chunk(index, { role: 'assistant', content: null }, {}, { ...linnet, ...prompt });
        }
      } else if (event.type === 'text') {
        emitted[event.choice] += event.scores.length;
        counts[event.choice] += event.tokens.length;
        yield chunk(
          event.choice,
          { content: event.text },
          { ...logprobs(event.scores), ...withIds(event.tokens) },
          linnet,
        );
      } else {
        const rest = visible(event, emitted[event.choice]);
        if (rest.length > 0 && fields.logprobs === true) yield chunk(event.choice, { content: '' }, logprobs(rest), {});
        const last = event.generation.tokens.slice(counts[event.choice]);
        counts[event.choice] += last.length;
        timings = timingsOf(read, event);
        yield chunk(event.choice, {}, { finish_reason: event.finish, ...withIds(last) }, linnet);
      }
    }
    if (withUsage) {
      yield dataEvent({ ...head, object: 'chat.completion.chunk', choices: [], usage: usageSoFar(), timings });
    }
    yield doneEvent;
  } catch (error) {
    yield dataEvent(asApiError(error).body);
  }
}
