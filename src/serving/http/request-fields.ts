/** The fields that requests share, and how a body is checked. */
import { randomInt, randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { SamplerInput } from '../../decoding/sampler.ts';
import { drafters } from '../../engine/text/decoding-choice.ts';
import { ApiError } from './api-error.ts';
import type { ServerLimits } from './limits.ts';
import type { ApiRequest } from './request-context.ts';

/** A field that may be left out, or null, as clients send it. */
export function maybe<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}

const tokenId = z.int().min(0).max(0xffffff);

/** How tokens are chosen and texts end, in all endpoints that write. */
export function samplingFields(limits: ServerLimits) {
  const stop = z.string().min(1).max(limits.stopLength);
  return {
    model: maybe(z.string().max(512)),
    temperature: maybe(z.number().min(0).max(100)),
    top_p: maybe(z.number().min(0).max(1)),
    top_k: maybe(
      z
        .int()
        .min(-1)
        .max(1 << 24),
    ),
    min_p: maybe(z.number().min(0).max(1)),
    n: maybe(z.int().min(1).max(limits.n)),
    best_of: maybe(z.int().min(1).max(limits.n)),
    stream: maybe(z.boolean()),
    stream_options: maybe(
      z.object({
        include_usage: maybe(z.boolean()),
        continuous_usage_stats: maybe(z.boolean()),
        include_tree: maybe(z.boolean()),
      }),
    ),
    speculate: maybe(z.enum(drafters)),
    stop: maybe(z.union([stop, z.array(stop).max(limits.stops)])),
    stop_token_ids: maybe(z.array(tokenId).max(limits.stops)),
    include_stop_str_in_output: maybe(z.boolean()),
    ignore_eos: maybe(z.boolean()),
    min_tokens: maybe(z.int().min(0).max(limits.maxTokens)),
    prompt_logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    return_token_ids: maybe(z.boolean()),
    return_tokens_as_token_ids: maybe(z.boolean()),
    priority: maybe(z.int().min(-0x7fffffff).max(0x7fffffff)),
    seed: maybe(z.int()),
    presence_penalty: maybe(z.number().min(-100).max(100)),
    frequency_penalty: maybe(z.number().min(-100).max(100)),
    repetition_penalty: maybe(z.number().min(0.01).max(100)),
    logit_bias: maybe(z.record(z.string().regex(/^\d{1,8}$/), z.number().min(-100).max(100))),
    cache_salt: maybe(z.string().max(256)),
    cache_prompt: maybe(z.boolean()),
    return_progress: maybe(z.boolean()),
    session_id: maybe(z.string().max(64)),
    session_version: maybe(z.int().min(1).max(Number.MAX_SAFE_INTEGER)),
  };
}

export type SamplingFields = z.output<z.ZodObject<ReturnType<typeof samplingFields>>>;

/** Fields that say how tokens are chosen; an endpoint may lack some. */
type SamplingChoice = Partial<
  Pick<
    SamplingFields,
    | ('temperature' | 'top_p' | 'top_k' | 'min_p' | 'logit_bias' | 'seed')
    | `${'presence' | 'frequency' | 'repetition'}_penalty`
  >
>;

/** The sampler's settings; the APIs sample at temperature 1 unless told otherwise. */
export function samplingOf(fields: SamplingChoice, vocabulary: number): SamplerInput & { readonly seed: number } {
  for (const id of Object.keys(fields.logit_bias ?? {})) checkToken(Number(id), vocabulary, 'logit_bias');
  const { top_p: topP = 1, top_k: topK = 0 } = fields;
  return {
    // A share of nothing leaves the most probable token.
    temperature: topP === 0 ? 0 : (fields.temperature ?? 1),
    topP: topP === 0 ? 1 : topP,
    topK: Math.max(0, topK),
    minP: fields.min_p ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? 1,
    repetitionWindow: 65536,
    logitBias: fields.logit_bias ?? {},
    seed: fields.seed === undefined ? randomInt(2 ** 32) : fields.seed >>> 0,
  };
}

export function stopsOf({ stop = [] }: Pick<SamplingFields, 'stop'>): readonly string[] {
  return typeof stop === 'string' ? [stop] : stop;
}

/**
 * Tokens before which nothing ends a text.
 * @param asked most tokens of the text
 * @param json what it is held to
 * @throws ApiError for more than may be written, and with JSON, which ends when it is complete
 */
export function leastTokensOf(
  { min_tokens: least = 0 }: Pick<SamplingFields, 'min_tokens'>,
  asked: number,
  json: object | undefined,
): number {
  const refuse = (message: string): never => {
    throw new ApiError('invalid_request_error', message, { param: 'min_tokens' });
  };
  if (least > asked) refuse(`"min_tokens" is ${least} and the text may have ${asked} tokens; ask for fewer`);
  if (least > 0 && json !== undefined) refuse('JSON ends when it is complete; leave out "min_tokens"');
  return least;
}

/** Separates what is kept of a prompt from that of others. */
export function saltOf(
  { salt }: ApiRequest,
  { cache_salt: own = '', cache_prompt: cached = true }: Partial<Pick<SamplingFields, 'cache_salt' | 'cache_prompt'>>,
): string {
  // Nothing else has this salt, and nothing is found under it again.
  return salt + own + (cached ? '' : randomUUID());
}

/** @throws ApiError for a token outside the vocabulary */
export function checkToken(token: number, vocabulary: number, param: string): void {
  if (token < vocabulary) return;
  throw new ApiError('invalid_request_error', `token ${token} is outside the vocabulary of ${vocabulary}`, { param });
}

/** Fields that would change the answer and that are not understood: when a value means that they are used. */
export type Refusals = Readonly<Record<string, (value: unknown) => boolean>>;

const given = (value: unknown): boolean => value !== undefined && value !== null;
const some = (value: unknown): boolean => given(value) && !(Array.isArray(value) && value.length === 0) && value !== '';

/** Those that no endpoint understands. */
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

/**
 * Checks a body. Fields that nobody knows are ignored, as clients send many; those known to change the answer are not.
 * @throws ApiError naming the first field that is wrong
 */
export function checkBody<S extends z.ZodType>(schema: S, body: unknown, refusals: Refusals = {}): z.output<S> {
  if (typeof body === 'object' && body !== null) {
    for (const [field, value] of Object.entries(body)) {
      if (!Object.hasOwn(refusals, field) || !refusals[field](value)) continue;
      throw new ApiError('invalid_request_error', `"${field}" is not supported here; leave it out`, { param: field });
    }
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const param = issue.path.map(String).join('.');
  const where = param === '' ? 'the request' : `"${param.slice(0, 200)}"`;
  throw new ApiError('invalid_request_error', `${where} is wrong: ${issue.message.slice(0, 500)}`, {
    param: param === '' ? undefined : param.slice(0, 200),
  });
}
