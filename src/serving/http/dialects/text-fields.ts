/** Fields that the dialects of OpenAI share, and the texts that they ask for. */
import { randomInt } from 'node:crypto';
import { z } from 'zod';
import type { SamplerInput } from '../../../decoding/sampler.ts';
import { drafters } from '../../../decoding/speculation/drafters/registry.ts';
import type { PromptInput } from '../../../engine/prompt.ts';
import type { Session } from '../../../engine/session.ts';
import { type JobOptions, requireEnding } from '../../../engine/text-options.ts';
import { whenEncoded } from '../../../tokenizer/later-encoding.ts';
import type { ServerLimits } from '../limits.ts';
import { tokensLeft } from '../request-context.ts';
import {
  checkInVocabulary,
  isPresent,
  madeOf,
  maybe,
  modelName,
  optionalFlag,
  type Refusals,
  refuse,
  some,
  tokenId,
} from '../request-fields.ts';
import type { At } from './dialect.ts';
import type { ChoiceRecord, Keep, TextRecord } from './records.ts';
import { filledText, share, whole } from '../../../files/schema-values.ts';

/** A JSON schema as it is sent; it is checked when it is made ready. */
export const jsonSchemaField = z.union([z.record(z.string(), z.unknown()), z.literal(true)], {
  error: 'expected a JSON schema, which is an object',
});

/** `response_format`, in the shapes of OpenAI and llama.cpp. */
const responseFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object'), schema: maybe(jsonSchemaField) }),
  z.object({ type: z.literal('json_schema'), json_schema: z.object({ schema: jsonSchemaField }) }),
]);

const penalty = z.number().min(-100).max(100);
const topK = whole(-1, 1 << 24);

/** How tokens are chosen and texts end, in all dialects. */
export function samplingFields(limits: ServerLimits) {
  const stop = filledText.max(limits.stopLength);
  return {
    stream: optionalFlag,
    temperature: maybe(z.number().min(0).max(100)),
    top_p: maybe(share),
    top_k: maybe(topK),
    min_p: maybe(share),
    presence_penalty: maybe(penalty),
    frequency_penalty: maybe(penalty),
    seed: maybe(z.int()),
    stop: maybe(
      z.union([stop, z.array(stop).max(limits.stops)], {
        error: `expected a text of 1 to ${limits.stopLength} characters, or up to ${limits.stops} such texts`,
      }),
    ),
    ignore_eos: optionalFlag,
    cache_prompt: optionalFlag,
    return_progress: optionalFlag,
    json_schema: maybe(jsonSchemaField),
  };
}

/** Fields of completions and chats. */
export function textFields(limits: ServerLimits) {
  return {
    ...samplingFields(limits),
    model: modelName,
    n: maybe(whole(1, limits.n)),
    best_of: maybe(whole(1, limits.n)),
    stream_options: maybe(
      z.object({
        include_usage: optionalFlag,
        continuous_usage_stats: optionalFlag,
        include_tree: optionalFlag,
      }),
    ),
    speculate: maybe(z.enum(drafters)),
    stop_token_ids: maybe(z.array(tokenId).max(limits.stops)),
    include_stop_str_in_output: optionalFlag,
    min_tokens: maybe(whole(0, limits.maxTokens)),
    prompt_logprobs: maybe(whole(0, limits.logprobs)),
    return_token_ids: optionalFlag,
    return_tokens_as_token_ids: optionalFlag,
    priority: maybe(whole(-0x7fffffff, 0x7fffffff)),
    repetition_penalty: maybe(z.number().min(0.01).max(100)),
    logit_bias: maybe(z.record(z.string().regex(/^\d{1,8}$/), penalty)),
    cache_salt: maybe(z.string().max(256)),
    session_id: maybe(z.string().max(64)),
    session_version: maybe(whole(1, Number.MAX_SAFE_INTEGER)),
    response_format: maybe(responseFormat),
  };
}

export type TextFields = z.output<z.ZodObject<ReturnType<typeof textFields>>>;

type Some<Name extends keyof TextFields> = Partial<Pick<TextFields, Name>>;

/** Fields that change the answer and that no dialect of OpenAI understands. */
export const commonRefusals: Refusals = {
  suffix: some,
  logits_processors: some,
  logit_processors: some,
  guided_json: isPresent,
  guided_regex: isPresent,
  guided_choice: isPresent,
  guided_grammar: isPresent,
  grammar: some,
  use_beam_search: (value) => value === true,
  skip_special_tokens: (value) => value === false,
};

/** Sampler settings with the same names in all dialects; the model or dialect provides the rest. */
export function commonSampling(
  fields: Partial<z.output<z.ZodObject<ReturnType<typeof samplingFields>>>>,
): SamplerInput {
  const { top_p: topP, top_k: topK, seed } = fields;
  return {
    // A share of nothing leaves the most probable token.
    temperature: topP === 0 ? 0 : fields.temperature,
    topP: topP === 0 ? 1 : topP,
    topK: topK === undefined ? undefined : Math.max(0, topK),
    minP: fields.min_p,
    presencePenalty: fields.presence_penalty,
    frequencyPenalty: fields.frequency_penalty,
    seed: seed === undefined ? randomInt(2 ** 32) : seed >>> 0,
  };
}

/** Sampling of requests that do not say how, and of models that do not either. */
const openAiDefaults: SamplerInput = { temperature: 1, repetitionWindow: 65536 };

/** The part of a text that its dialect decides. */
export interface TextRequest extends Pick<JobOptions, 'bos' | 'after' | 'constraint' | 'tokenizer' | 'thinkingBudget'> {
  /** Requested maximum of tokens. */
  readonly asked: number;
  /** Most probable tokens to report with each token of the text, and of the prompt. */
  readonly text?: number;
  readonly prompt?: number;
  /** Default: as the fields say. */
  readonly sampling?: SamplerInput;
  /** Sampling if neither the request nor the model sets it. Default: temperature 1. */
  readonly defaults?: SamplerInput;
  /** The session to continue. Default: a new one. */
  readonly session?: Session;
  /** Among the texts of the request. Default 0. */
  readonly place?: number;
}

/** The text requested by fields. @throws ApiError naming the wrong field; LinnetError as `Session.job` */
export async function askedText(
  fields: Partial<TextFields>,
  { serving, request }: At,
  input: PromptInput,
  { asked, text, prompt: echoed, sampling, session: own, place = 0, ...bounds }: TextRequest,
): Promise<TextRecord> {
  const {
    n: wanted = 1,
    best_of: bestOf = wanted,
    prompt_logprobs: promptTop,
    stop_token_ids: stopIds = [],
    stop = [],
  } = fields;
  const { repetition_penalty: repetitionPenalty, logit_bias: logitBias, min_tokens: leastTokens = 0 } = fields;
  const { model, runner } = serving;
  if (bestOf !== wanted) refuse('"best_of" must equal "n"', 'best_of');
  if (promptTop !== undefined && fields.stream === true) {
    refuse('a stream cannot have "prompt_logprobs"; leave out one of them', 'prompt_logprobs');
  }
  checkInVocabulary(stopIds, model.vocabulary, 'stop_token_ids');
  checkInVocabulary(Object.keys(logitBias ?? {}).map(Number), model.vocabulary, 'logit_bias');
  const n = asked === 0 ? 1 : wanted;
  const json = bounds.constraint === undefined ? jsonSchemaOf(fields) : undefined;
  if (leastTokens > 0) checkLeastTokens(leastTokens, asked, bounds.constraint ?? json);
  const scored = promptTop ?? echoed;
  const options: JobOptions = {
    defaults: openAiDefaults,
    ...bounds,
    ...(sampling ?? { ...commonSampling(fields), repetitionPenalty, logitBias }),
    maxTokens: asked,
    n,
    penalizes: 'answer',
    stop: typeof stop === 'string' ? [stop] : stop,
    stopIds,
    keepsStop: fields.include_stop_str_in_output,
    ignoreEos: fields.ignore_eos,
    leastTokens,
    jsonSchema: json?.schema,
    scores: { text, prompt: scored === undefined ? undefined : Math.max(scored, echoed ?? 0) },
    trees: fields.stream_options?.include_tree,
    speculate: fields.speculate,
    owner: request.key,
    salt: request.salt + (fields.cache_salt ?? ''),
    kept: fields.cache_prompt,
    priority: fields.priority,
    signal: request.abort.signal,
  };
  const session = own ?? model.session(undefined, { runner });
  if (options.ignoreEos === true) {
    madeOf('ignore_eos', () => {
      requireEnding(options);
    });
  }
  if (json !== undefined) madeOf(json.field, () => session.constraint(input, options));
  const job = await whenEncoded(() => session.job(input, options), request.abort.signal);
  const prompt = job.prompt.source ?? job.prompt.tokens;
  if (!('messages' in input)) checkInVocabulary(prompt, model.vocabulary, 'prompt');
  const choices: ChoiceRecord[] = [];
  for (let choice = 0; choice < n; choice++) {
    choices.push({ index: n * place + choice, text: '', tokens: [], scores: [], waiting: [] });
  }
  const maxTokens = tokensLeft(serving, prompt.length, asked);
  return { session, job: { ...job, maxTokens }, prompt, choices, cached: 0, scores: [] };
}

/** Tokens before which nothing ends a text. @throws ApiError for more than are asked for, and beside a grammar */
function checkLeastTokens(least: number, asked: number, json: unknown): void {
  if (least > asked) {
    refuse(`"min_tokens" is ${least}, but the text may have only ${asked} tokens; ask for fewer`, 'min_tokens');
  }
  if (json !== undefined) refuse('JSON and function calls end when complete; leave out "min_tokens"', 'min_tokens');
}

type JsonFields = Some<'response_format' | 'json_schema' | 'ignore_eos'>;

/** The JSON schema that a text is asked to follow, and the field that has it; undefined for any text. */
export function jsonSchemaOf({ response_format: format, json_schema: plain }: JsonFields) {
  const formatted = format !== undefined && format.type !== 'text';
  if (formatted && plain !== undefined) refuse('give one of "response_format" and "json_schema"', 'json_schema');
  if (!formatted) return plain === undefined ? undefined : { schema: plain, field: 'json_schema' };
  const schema = format.type === 'json_schema' ? format.json_schema.schema : (format.schema ?? { type: 'object' });
  return { schema, field: 'response_format' };
}

/** A turn on the session that a request names. @throws ApiError as `Sessions.begin`, and for fields that a turn cannot have */
export async function sessionTurn(
  fields: Partial<TextFields>,
  { serving, request }: At,
): Promise<{ readonly session: Session; readonly keep: Keep } | undefined> {
  const { session_id: id, session_version: version, seed, n = 1, prompt_logprobs: scored } = fields;
  if (id === undefined) return undefined;
  if (n !== 1 || scored !== undefined) {
    refuse('a session turn allows one choice and no prompt log-probabilities', 'session_id');
  }
  const { model, sessions, runner } = serving;
  const turn = await sessions.begin({ owner: request.key, id }, request.abort.signal, version);
  // A seed begins the random numbers anew.
  const from = seed === undefined ? turn.session : { ...turn.session, random: undefined };
  return { session: model.session(from, { runner }), keep: turn.keep };
}
