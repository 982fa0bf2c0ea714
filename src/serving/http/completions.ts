/** POST /v1/completions: texts that continue prompts. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { type Prompt, type PromptInput, type PromptOptions, preparePrompt } from '../../engine/prompt.ts';
import type { PlacedScore } from '../../engine/text/score-stream.ts';
import type { TokenScore } from '../../engine/text/scores.ts';
import type { ServiceEvent, ServiceJob } from '../../engine/text/text-service.ts';
import { ApiError, asApiError } from './api-error.ts';
import { addScore, type CompletionLogprobs, joinedLogprobs, textOffsets } from './completion-logprobs.ts';
import { formatFields, jsonOf } from './response-format.ts';
import { dataEvent, doneEvent, eventStream, interleave } from './event-stream.ts';
import { perLimits } from './limits.ts';
import { type ApiRequest, checkModel, identityOf, type Serving, tokensLeft, usageOf } from './request-context.ts';
import { withWarning } from './length-warning.ts';
import { promptLogprobs, type PromptLogprobs, promptScoring } from './prompt-logprobs.ts';
import { ProgressFields } from './progress-fields.ts';
import { progressOf } from './timings.ts';
import { type TokenNames, tokenNames } from './token-names.ts';
import { onSession, startJob, withTurn } from './session-routes.ts';
import {
  checkBody,
  checkToken,
  commonRefusals,
  leastTokensOf,
  maybe,
  saltOf,
  samplingFields,
  samplingOf,
  stopsOf,
} from './request-fields.ts';

export const completionSchema = perLimits((limits) => {
  const ids = z.array(z.int().min(0).max(0xffffff)).max(limits.promptTokens);
  return z.object({
    ...samplingFields(limits),
    ...formatFields,
    prompt: maybe(
      z.union([z.string(), ids, z.array(z.string()).max(limits.prompts), z.array(ids).max(limits.prompts)], {
        error: `expected a text, token ids, or up to ${limits.prompts} of either`,
      }),
    ),
    max_tokens: maybe(z.int().min(0).max(limits.maxTokens)),
    logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    echo: maybe(z.boolean()),
    add_special_tokens: maybe(z.boolean()),
  });
});

type CompletionFields = z.output<ReturnType<typeof completionSchema>>;

interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: 'stop' | 'length' | null;
  /** Where the request asks for them; of a part, those of the part. */
  readonly prompt_token_ids?: readonly number[];
  readonly token_ids?: readonly number[];
  readonly prompt_logprobs?: PromptLogprobs;
}

/** A request that has been checked. */
interface Completion {
  readonly fields: CompletionFields;
  readonly inputs: readonly PromptInput[];
  /** Tokens of the inputs; of the whole text on a session, once it is known. */
  readonly prompts: readonly (readonly number[])[];
  /** What encoder-decoder models read. */
  readonly sources: readonly Prompt['source'][];
  readonly jobs: readonly ServiceJob[];
  readonly head: {
    readonly id: string;
    readonly object: 'text_completion';
    readonly created: number;
    readonly model: string;
    readonly system_fingerprint: string;
  };
}

/** Answers the request. @throws ApiError, and as `TextService.start` */
export async function completions(serving: Serving, request: ApiRequest): Promise<Response> {
  const prepared = prepare(serving, request);
  serving.texts.runner.checkRoom();
  const { completion, sources } = await start(serving, prepared);
  const events = interleave(sources);
  const writer = new CompletionWriter(serving, completion);
  if (completion.fields.stream === true) {
    const stream = eventStream(streamed(serving, completion, writer, events), () => {
      request.abort.abort();
    });
    return withWarning(serving, completion.prompts, stream);
  }
  const parts: CompletionChoice[] = [];
  for await (const [source, event] of events) parts.push(...writer.take(source, event));
  const choices = joined(parts).map((choice) => writer.withPromptLogprobs(choice));
  const answer = Response.json({ ...completion.head, choices, usage: writer.usage });
  return withWarning(serving, completion.prompts, answer);
}

/** Starts the jobs, on a session where the request names one: its text goes on with the prompt. */
async function start(serving: Serving, completion: Completion) {
  const { fields, jobs, inputs, sources } = completion;
  const { session_id: id, session_version: version, seed } = fields;
  if (sources.some((source) => source !== undefined)) return startReading(serving, completion);
  if (id === undefined) return { completion, sources: serving.texts.startAll(jobs) };
  if (jobs.length !== 1) {
    throw new ApiError('invalid_request_error', 'a session takes one prompt', { param: 'session_id' });
  }
  const named = { id, version, seeded: seed !== undefined };
  const { job, turn } = await onSession(
    serving,
    jobs[0],
    named,
    (tokens) => promptOf(serving, inputs[0], { after: { tokens } }).tokens,
  );
  try {
    const within = { ...job, maxTokens: tokensLeft(serving, job.prompt.length, job.maxTokens) };
    const events = withTurn(startJob(serving, within, turn), turn, job.prompt);
    return { completion: { ...completion, prompts: [job.prompt], jobs: [within] }, sources: [events] };
  } catch (error) {
    turn.release();
    throw error;
  }
}

/** Encoder-decoder models: sources are read first. */
async function startReading({ model, texts }: Serving, completion: Completion) {
  const { fields, jobs, sources } = completion;
  const { engine } = model;
  const refused = (['echo', 'session_id', 'prompt_logprobs'] as const).find(
    (name) => fields[name] !== undefined && fields[name] !== false,
  );
  if (refused !== undefined) {
    throw new ApiError('invalid_request_error', `this model writes about its prompt: it has no "${refused}"`, {
      param: refused,
    });
  }
  const ready: ServiceJob[] = [];
  for (const [index, job] of jobs.entries()) {
    const source = sources[index];
    ready.push({ ...job, state: engine.newState(source && (await engine.encode(source))) });
  }
  return { completion: { ...completion, jobs: ready }, sources: texts.startAll(ready) };
}

function prepare(serving: Serving, request: ApiRequest): Completion {
  const { model, limits } = serving;
  const fields = checkBody(completionSchema(limits), request.body, { ...commonRefusals, tools: (v) => v !== null });
  checkModel(serving, fields.model);
  const { n = 1, best_of: bestOf = n, echo = false, logprobs, max_tokens: asked = 16 } = fields;
  if (bestOf !== n) {
    throw new ApiError('invalid_request_error', '"best_of" other than n is not supported', { param: 'best_of' });
  }
  if (asked === 0 && !echo) {
    throw new ApiError('invalid_request_error', '"max_tokens" may be 0 only with "echo"', { param: 'max_tokens' });
  }
  const vocabulary = model.engine.model.sizes.vocabulary;
  for (const id of fields.stop_token_ids ?? []) checkToken(id, vocabulary, 'stop_token_ids');
  const json = jsonOf(serving, fields);
  const inputs = inputsOf(fields);
  const bos = fields.add_special_tokens === false ? false : 'auto';
  // The text of a session is known when the turn begins.
  const prepared = inputs.map((input) =>
    fields.session_id === undefined ? promptOf(serving, input, { bos }) : { tokens: [] },
  );
  const sources = prepared.map(({ source }: Prompt) => source);
  const prompts = prepared.map(({ source, tokens }: Prompt) => source ?? tokens);
  const jobs = prepared.map(({ tokens }, index) => ({
    key: request.key,
    salt: saltOf(request, fields),
    prompt: tokens,
    maxTokens: tokensLeft(serving, prompts[index].length, asked),
    n: asked === 0 ? 1 : n,
    sampling: samplingOf(fields, vocabulary),
    stop: stopsOf(fields),
    stopIds: fields.stop_token_ids ?? [],
    keepStop: fields.include_stop_str_in_output,
    priority: fields.priority,
    ignoreEos: fields.ignore_eos ?? false,
    leastTokens: leastTokensOf(fields, asked, json),
    json,
    logprobs,
    ...promptScoring(fields, echo ? logprobs : undefined),
    drafter: fields.speculate,
    progress: fields.return_progress,
    trees: fields.stream_options?.include_tree === true,
    signal: request.abort.signal,
  }));
  const head = {
    id: `cmpl-${randomUUID()}`,
    object: 'text_completion' as const,
    created: Math.floor(Date.now() / 1000),
    ...identityOf(serving),
  };
  return { fields, inputs, prompts, sources, jobs, head };
}

function inputsOf({ prompt = '' }: CompletionFields): readonly PromptInput[] {
  const list = typeof prompt === 'string' || isNumbers(prompt) ? [prompt] : prompt;
  if (list.length === 0) throw new ApiError('invalid_request_error', 'there is no prompt', { param: 'prompt' });
  return list.map((one) => (typeof one === 'string' ? { text: one } : { tokens: one }));
}

/** @throws ApiError for a token that the model does not have, LinnetError as `preparePrompt` */
function promptOf({ model }: Serving, input: PromptInput, options: PromptOptions): Prompt {
  const prompt = preparePrompt(model, input, options);
  for (const id of prompt.source ?? prompt.tokens) checkToken(id, model.engine.model.sizes.vocabulary, 'prompt');
  return prompt;
}

function isNumbers(prompt: readonly unknown[]): prompt is readonly number[] {
  return prompt.length > 0 && prompt.every((one) => typeof one === 'number');
}

/** Makes parts of choices of events. A choice's parts, joined, are the choice. */
class CompletionWriter {
  readonly #serving: Serving;
  readonly #completion: Completion;
  readonly #names: TokenNames;
  /** Tokens of each choice that have been given out. */
  readonly #given: number[] = [];
  #cached = 0;
  /** Scores of each prompt. */
  readonly #promptScores: (readonly TokenScore[])[] = [];

  constructor(serving: Serving, completion: Completion) {
    this.#serving = serving;
    this.#completion = completion;
    this.#names = tokenNames(completion.fields, serving.model.pieces);
  }

  get usage() {
    const prompt = this.#completion.prompts.reduce((sum, { length }) => sum + length, 0);
    const written = this.#given.reduce((sum, count) => sum + count, 0);
    return usageOf(prompt, written, this.#cached);
  }

  take(source: number, event: ServiceEvent): CompletionChoice[] {
    const { fields, jobs } = this.#completion;
    if (event.type === 'progress') return [];
    const index = (choice: number): number => source * jobs[source].n + choice;
    if (event.type === 'prompt') {
      this.#cached += event.cached;
      this.#promptScores[source] = event.scores;
      if (fields.echo !== true && fields.return_token_ids !== true) return [];
      return this.#beforeText(source, event.scores).map((part) => ({ ...part, index: index(part.index) }));
    }
    const place = index(event.choice);
    const logprobs = this.#logprobs(source, event.scores);
    const before = (this.#given[place] ??= 0);
    const tokens = event.type === 'text' ? event.tokens : event.generation.tokens.slice(before);
    this.#given[place] = before + tokens.length;
    const ids = fields.return_token_ids === true ? { token_ids: tokens } : {};
    const [text, finish] = event.type === 'text' ? [event.text, null] : ['', event.finish];
    return [{ index: place, text, logprobs, finish_reason: finish, ...ids }];
  }

  /** A whole choice, with the scores of its prompt where they are asked for. */
  withPromptLogprobs(choice: CompletionChoice): CompletionChoice {
    const { fields, jobs } = this.#completion;
    if (fields.prompt_logprobs === undefined) return choice;
    const scores = this.#promptScores[Math.floor(choice.index / jobs[0].n)];
    return { ...choice, prompt_logprobs: promptLogprobs(scores, fields.prompt_logprobs, this.#names) };
  }

  /** What of the prompt is in front of each of its choices: its text, its ids. */
  #beforeText(source: number, scores: readonly TokenScore[]): CompletionChoice[] {
    const { prompts, fields, jobs } = this.#completion;
    const ids = fields.return_token_ids === true ? { prompt_token_ids: prompts[source], token_ids: [] } : {};
    const nothing = { text: '', logprobs: null, finish_reason: null };
    const parts =
      fields.echo === true
        ? this.#echoed(source, scores)
        : Array.from({ length: jobs[source].n }, (_, index) => ({ index, ...nothing }));
    return parts.map((part) => ({ ...part, ...ids }));
  }

  #echoed(source: number, scores: readonly TokenScore[]): CompletionChoice[] {
    const { prompts, fields, jobs } = this.#completion;
    const { tokenizer } = this.#serving.model;
    const prompt = prompts[source];
    const text = tokenizer.decode(prompt);
    let logprobs: CompletionLogprobs | null = null;
    if (fields.logprobs !== undefined) {
      logprobs = { tokens: [this.#names(prompt[0])], token_logprobs: [null], top_logprobs: [null], text_offset: [0] };
      const offsets = textOffsets(prompt, tokenizer.decode.bind(tokenizer));
      scores.forEach((score, i) => {
        const top = score.top.slice(0, fields.logprobs);
        addScore(logprobs, this.#names, { ...score, top }, offsets[i + 1]);
      });
    }
    const finish = jobs[source].maxTokens === 0 ? ('length' as const) : null;
    return Array.from({ length: jobs[source].n }, (_, index) => ({ index, text, logprobs, finish_reason: finish }));
  }

  #logprobs(source: number, scores: readonly PlacedScore[]): CompletionLogprobs | null {
    const { fields, prompts } = this.#completion;
    if (fields.logprobs === undefined) return null;
    const { tokenizer } = this.#serving.model;
    const before = fields.echo === true ? tokenizer.decode(prompts[source]).length : 0;
    const logprobs: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const score of scores) addScore(logprobs, this.#names, score, before + score.offset);
    return logprobs;
  }
}

/** Choices from their parts. */
function joined(parts: readonly CompletionChoice[]): CompletionChoice[] {
  const byIndex = new Map<number, CompletionChoice[]>();
  for (const part of parts) {
    const own = byIndex.get(part.index);
    if (own === undefined) byIndex.set(part.index, [part]);
    else own.push(part);
  }
  return [...byIndex]
    .sort(([a], [b]) => a - b)
    .map(([index, own]) => ({
      index,
      text: own.map(({ text }) => text).join(''),
      logprobs: joinedLogprobs(own.flatMap(({ logprobs }) => logprobs ?? [])),
      finish_reason: own.at(-1)?.finish_reason ?? null,
      ...joinedIds(own),
    }));
}

/** Ids of the prompt and of the text, where parts have them. */
function joinedIds(parts: readonly CompletionChoice[]): Pick<CompletionChoice, 'prompt_token_ids' | 'token_ids'> {
  const first = parts.find(({ prompt_token_ids: ids }) => ids !== undefined);
  if (first === undefined) return {};
  return {
    prompt_token_ids: first.prompt_token_ids,
    token_ids: parts.flatMap(({ token_ids: own = [] }) => own),
  };
}

async function* streamed(
  { model }: Serving,
  { head, fields }: Completion,
  writer: CompletionWriter,
  events: AsyncGenerator<readonly [number, ServiceEvent], void, undefined>,
): AsyncGenerator<string, void, undefined> {
  const withUsage = fields.stream_options?.include_usage === true;
  const progress = new ProgressFields(fields, model.pieces);
  const always = fields.stream_options?.continuous_usage_stats === true;
  try {
    for await (const [source, event] of events) {
      if (event.type === 'progress') yield dataEvent({ ...head, choices: [], prompt_progress: progressOf(event) });
      const linnet = progress.of(event);
      for (const choice of writer.take(source, event)) {
        yield dataEvent({
          ...head,
          choices: [choice],
          ...(withUsage && { usage: always ? writer.usage : null }),
          ...linnet,
        });
      }
    }
    if (withUsage) yield dataEvent({ ...head, choices: [], usage: writer.usage });
    yield doneEvent;
  } catch (error) {
    yield dataEvent(asApiError(error).body);
  }
}
