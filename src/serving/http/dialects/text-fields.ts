/** Fields that the dialects of OpenAI share, and the jobs that they mean. */
import { randomInt } from 'node:crypto';
import { z } from 'zod';
import type { GrammarConstraint } from '../../../decoding/constraints/grammar-constraint.ts';
import type { SamplerInput } from '../../../decoding/sampler.ts';
import { leadsTo, type Prompt } from '../../../engine/prompt.ts';
import { drafters } from '../../../decoding/speculation/drafters/registry.ts';
import type { TextJob } from '../../../engine/text-job.ts';
import { endOfTurn } from '../../../tokenizer/text-ends.ts';
import type { ServerLimits } from '../limits.ts';
import { answeredName, type Serving, tokensLeft } from '../request-context.ts';
import {
  checkInVocabulary,
  given,
  madeOf,
  maybe,
  modelName,
  type Refusals,
  refuse,
  some,
  tokenId,
} from '../request-fields.ts';
import type { At, Keep } from './dialect.ts';

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

const probability = z.number().min(0).max(1);
const penalty = z.number().min(-100).max(100);
const topK = z
  .int()
  .min(-1)
  .max(1 << 24);

/** How tokens are chosen and texts end, in all dialects. */
export function samplingFields(limits: ServerLimits) {
  const stop = z.string().min(1).max(limits.stopLength);
  return {
    stream: maybe(z.boolean()),
    temperature: maybe(z.number().min(0).max(100)),
    top_p: maybe(probability),
    top_k: maybe(topK),
    min_p: maybe(probability),
    presence_penalty: maybe(penalty),
    frequency_penalty: maybe(penalty),
    seed: maybe(z.int()),
    stop: maybe(z.union([stop, z.array(stop).max(limits.stops)])),
    ignore_eos: maybe(z.boolean()),
    cache_prompt: maybe(z.boolean()),
    return_progress: maybe(z.boolean()),
    json_schema: maybe(jsonSchemaField),
  };
}

/** Fields of completions and chats. */
export function textFields(limits: ServerLimits) {
  return {
    ...samplingFields(limits),
    model: modelName,
    n: maybe(z.int().min(1).max(limits.n)),
    best_of: maybe(z.int().min(1).max(limits.n)),
    stream_options: maybe(
      z.object({
        include_usage: maybe(z.boolean()),
        continuous_usage_stats: maybe(z.boolean()),
        include_tree: maybe(z.boolean()),
      }),
    ),
    speculate: maybe(z.enum(drafters)),
    stop_token_ids: maybe(z.array(tokenId).max(limits.stops)),
    include_stop_str_in_output: maybe(z.boolean()),
    min_tokens: maybe(z.int().min(0).max(limits.maxTokens)),
    prompt_logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    return_token_ids: maybe(z.boolean()),
    return_tokens_as_token_ids: maybe(z.boolean()),
    priority: maybe(z.int().min(-0x7fffffff).max(0x7fffffff)),
    repetition_penalty: maybe(z.number().min(0.01).max(100)),
    logit_bias: maybe(z.record(z.string().regex(/^\d{1,8}$/), penalty)),
    cache_salt: maybe(z.string().max(256)),
    session_id: maybe(z.string().max(64)),
    session_version: maybe(z.int().min(1).max(Number.MAX_SAFE_INTEGER)),
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
  guided_json: given,
  guided_regex: given,
  guided_choice: given,
  guided_grammar: given,
  grammar: some,
  use_beam_search: (value) => value === true,
  skip_special_tokens: (value) => value === false,
};

/** Settings of the sampler that all dialects name alike, with their defaults. */
export function commonSampling(
  fields: Partial<z.output<z.ZodObject<ReturnType<typeof samplingFields>>>>,
  defaults: { readonly temperature: number; readonly topP: number; readonly topK: number; readonly minP: number },
) {
  const { top_p: topP = defaults.topP, top_k: topK = defaults.topK, seed } = fields;
  return {
    // A share of nothing leaves the most probable token.
    temperature: topP === 0 ? 0 : (fields.temperature ?? defaults.temperature),
    topP: topP === 0 ? 1 : topP,
    topK: Math.max(0, topK),
    minP: fields.min_p ?? defaults.minP,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    seed: seed === undefined ? randomInt(2 ** 32) : seed >>> 0,
  };
}

/** The sampler's settings; the APIs sample at temperature 1 unless told otherwise. */
export function samplingOf(fields: Partial<TextFields>, vocabulary: number) {
  const { logit_bias: logitBias = {}, repetition_penalty: repetitionPenalty = 1 } = fields;
  checkInVocabulary(Object.keys(logitBias).map(Number), vocabulary, 'logit_bias');
  const common = commonSampling(fields, { temperature: 1, topP: 1, topK: 0, minP: 0 });
  return { ...common, repetitionPenalty, repetitionWindow: 65536, logitBias };
}

function stopsOf({ stop = [] }: Some<'stop'>): readonly string[] {
  return typeof stop === 'string' ? [stop] : stop;
}

export interface JobBounds {
  /** Most tokens that are asked for. */
  readonly asked: number;
  /** Most probable tokens to report with each token of the text, and of the prompt. */
  readonly text?: number;
  readonly prompt?: number;
  /** Default: as the fields say. */
  readonly sampling?: SamplerInput;
  /** The grammar that the text is held to, and how its tokens are read. Default: the fields' JSON schema. */
  readonly held?: Pick<TextJob, 'constraint' | 'tokenizer'>;
  /** Whether the text is a turn of a chat, which the tokenizer's EOS ends, too. Default false. */
  readonly isTurn?: boolean;
}

export function jobOf(
  fields: Partial<TextFields>,
  { serving, request }: At,
  prompt: Prompt,
  { asked, text, prompt: echoed, sampling, held, isTurn = false }: JobBounds,
): TextJob {
  const { n = 1, best_of: bestOf = n, prompt_logprobs: promptTop, stop_token_ids: tokenIds = [] } = fields;
  const vocabulary = serving.model.engine.model.sizes.vocabulary;
  answeredName(serving, fields.model);
  if (bestOf !== n) refuse('"best_of" other than n is not supported', 'best_of');
  if (promptTop !== undefined && fields.stream === true) {
    refuse('a stream has no "prompt_logprobs"; leave out one of them', 'prompt_logprobs');
  }
  checkInVocabulary(tokenIds, vocabulary, 'stop_token_ids');
  const ends = isTurn && fields.ignore_eos !== true ? endOfTurn(serving.model.tokenizer) : [];
  const constraint = held === undefined ? jsonOf(serving, fields, ends) : held.constraint;
  const scored = promptTop ?? echoed;
  return {
    prompt,
    owner: request.key,
    salt: request.salt + (fields.cache_salt ?? ''),
    kept: fields.cache_prompt,
    maxTokens: tokensLeft(serving, (prompt.source ?? prompt.tokens).length, asked),
    n: asked === 0 ? 1 : n,
    sampling: sampling ?? samplingOf(fields, vocabulary),
    stop: { strings: stopsOf(fields), tokenIds: [...tokenIds, ...ends], kept: fields.include_stop_str_in_output },
    ignoreEos: fields.ignore_eos,
    leastTokens: leastTokensOf(fields, asked, constraint),
    constraint,
    tokenizer: held?.tokenizer,
    scores: { text, prompt: scored === undefined ? undefined : Math.max(scored, echoed ?? 0) },
    drafter: fields.speculate,
    trees: fields.stream_options?.include_tree,
    priority: fields.priority,
    signal: request.abort.signal,
  };
}

/** Tokens before which nothing ends a text. */
function leastTokensOf({ min_tokens: least = 0 }: Partial<TextFields>, asked: number, json: unknown): number {
  if (least > asked) {
    refuse(`"min_tokens" is ${least} and the text may have ${asked} tokens; ask for fewer`, 'min_tokens');
  }
  if (least > 0 && json !== undefined)
    refuse('JSON and calls end when they are complete; leave out "min_tokens"', 'min_tokens');
  return least;
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

/**
 * The grammar of JSON that the text is held to; undefined for any text.
 * @throws ApiError for a schema that cannot be used, naming the field
 */
function jsonOf(
  { grammars, model }: Serving,
  fields: JsonFields,
  ends: readonly number[],
): GrammarConstraint | undefined {
  const asked = jsonSchemaOf(fields);
  if (asked === undefined) return undefined;
  if (fields.ignore_eos === true) refuse('JSON ends with EOS; leave out "ignore_eos"', 'ignore_eos');
  return madeOf(asked.field, () => grammars.json(asked.schema, [...model.engine.model.eosIds, ...ends]));
}

/**
 * A turn on the session that a request names: its job goes on from the session's state.
 * @param make makes the job, of the tokens of the session's text
 */
export async function onSession(
  { session_id: id = '', session_version: version, seed }: Partial<TextFields>,
  { serving, request }: At,
  make: (tokens: ArrayLike<number>) => TextJob | Promise<TextJob>,
): Promise<{ readonly job: TextJob; readonly keep: Keep }> {
  const turn = await serving.sessions.begin({ owner: request.key, id }, request.abort.signal, version);
  const { session } = turn;
  const job = await make(session.tokens);
  if (job.n !== 1 || job.scores?.prompt !== undefined) {
    refuse('a turn on a session has one choice, and no log-probabilities of its prompt', 'session_id');
  }
  const state = leadsTo(session, job.prompt.tokens) ? session.state.fork() : undefined;
  const random = seed === undefined ? session.sampler : undefined;
  const { learned } = serving.runner;
  const { salt = '', kept = true } = job;
  if (kept && session.learned !== undefined) learned.of(salt).take(session.learned);
  const learnedThen = () => (kept ? learned.known(salt)?.saved : session.learned);
  return {
    job: { ...job, state, random },
    keep: (text) => turn.keep({ ...text, learned: learnedThen() }),
  };
}
