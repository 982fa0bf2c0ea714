/** The fields of llama.cpp's /completion, with its defaults, and the jobs that they mean. */
import { randomInt } from 'node:crypto';
import { z } from 'zod';
import { preparePrompt } from '../../../engine/prompt.ts';
import type { ServiceJob } from '../../../engine/text/text-service.ts';
import { textTokens } from '../../../tokenizer/encode-text.ts';
import { ApiError } from '../api-error.ts';
import { perLimits } from '../limits.ts';
import { type ApiRequest, type Serving, tokensLeft } from '../request-context.ts';
import { checkBody, checkToken, maybe, type Refusals, saltOf, stopsOf } from '../request-fields.ts';
import { jsonOf, jsonSchemaField } from '../response-format.ts';

/** What -1 as a number of tokens comes to. */
const unboundedTokens = 4096;

const bias = z.union([z.number().min(-100).max(100), z.literal(false)]);
const piece = z.union([z.string(), z.int().min(0).max(0xffffff)]);

export const nativeSchema = perLimits((limits) => {
  const stop = z.string().min(1).max(limits.stopLength);
  const pieces = z.array(piece).max(limits.promptTokens);
  return z.object({
    prompt: z.union([z.string(), pieces, z.array(z.union([z.string(), pieces])).max(limits.prompts)], {
      error: `expected a text, token ids, a mixture of them, or up to ${limits.prompts} of these`,
    }),
    n_predict: maybe(z.int().min(-1).max(limits.maxTokens)),
    temperature: maybe(z.number().min(0).max(100)),
    top_k: maybe(
      z
        .int()
        .min(-1)
        .max(1 << 24),
    ),
    top_p: maybe(z.number().min(0).max(1)),
    min_p: maybe(z.number().min(0).max(1)),
    repeat_penalty: maybe(z.number().min(0.01).max(100)),
    repeat_last_n: maybe(z.int().min(-1).max(65536)),
    presence_penalty: maybe(z.number().min(-100).max(100)),
    frequency_penalty: maybe(z.number().min(-100).max(100)),
    seed: maybe(z.int()),
    stop: maybe(z.union([stop, z.array(stop).max(limits.stops)])),
    ignore_eos: maybe(z.boolean()),
    logit_bias: maybe(
      z.union([
        z.array(z.tuple([z.union([z.int(), z.string().min(1).max(256)]), bias])).max(1024),
        z.record(z.string().min(1).max(256), bias),
      ]),
    ),
    n_probs: maybe(z.int().min(0).max(limits.logprobs)),
    post_sampling_probs: maybe(z.boolean()),
    n_cmpl: maybe(z.int().min(1).max(limits.n)),
    stream: maybe(z.boolean()),
    cache_prompt: maybe(z.boolean()),
    id_slot: maybe(z.int().min(-1)),
    return_tokens: maybe(z.boolean()),
    return_progress: maybe(z.boolean()),
    timings_per_token: maybe(z.boolean()),
    response_fields: maybe(z.array(z.string().min(1).max(128)).max(64)),
    json_schema: maybe(jsonSchemaField),
  });
});

export type NativeFields = z.output<ReturnType<typeof nativeSchema>>;

const filled = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0);
const otherThan =
  (neutral: number) =>
  (value: unknown): boolean =>
    value !== undefined && value !== null && value !== neutral;

const refusals: Refusals = {
  grammar: filled,
  samplers: filled,
  image_data: filled,
  multimodal_data: filled,
  lora: filled,
  mirostat: otherThan(0),
  typical_p: otherThan(1),
  dynatemp_range: otherThan(0),
  dry_multiplier: otherThan(0),
  xtc_probability: otherThan(0),
  top_n_sigma: (value) => typeof value === 'number' && value > 0,
  n_indent: otherThan(0),
  t_max_predict_ms: (value) => typeof value === 'number' && value > 0,
  response_format: filled,
};

/** A request that has been checked. */
export interface NativeRequest {
  readonly fields: NativeFields;
  readonly jobs: readonly ServiceJob[];
  /** Settings as they are, for the answer. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** @throws ApiError */
export function readNative(serving: Serving, request: ApiRequest): NativeRequest {
  const { limits, texts } = serving;
  const fields = checkBody(nativeSchema(limits), request.body, refusals);
  const { n_predict: predicted = -1, n_cmpl: n = 1, n_probs: scores = 0, id_slot: slot = -1 } = fields;
  if (slot >= texts.runner.parallel) {
    throw new ApiError('invalid_request_error', `there are ${texts.runner.parallel} slots`, { param: 'id_slot' });
  }
  const json = jsonOf(serving, { ...fields, response_format: undefined });
  const seed = fields.seed === undefined || fields.seed === -1 ? randomInt(2 ** 32) : fields.seed >>> 0;
  const window = fields.repeat_last_n ?? 64;
  const { top_p: topP = 0.95 } = fields;
  const sampling = {
    temperature: topP === 0 ? 0 : (fields.temperature ?? 0.8),
    topK: Math.max(0, fields.top_k ?? 40),
    topP: topP === 0 ? 1 : topP,
    minP: fields.min_p ?? 0.05,
    repetitionPenalty: fields.repeat_penalty ?? 1,
    repetitionWindow: window === -1 ? 65536 : window,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: biasOf(fields, serving),
    seed,
  };
  const asked = predicted === -1 ? unboundedTokens : predicted;
  const jobs = promptsOf(fields, serving).map((prompt) => ({
    key: request.key,
    salt: saltOf(request, fields),
    prompt,
    maxTokens: tokensLeft(serving, prompt.length, asked),
    n: asked === 0 ? 1 : n,
    sampling,
    stop: stopsOf(fields),
    stopIds: [],
    ignoreEos: fields.ignore_eos ?? false,
    json,
    logprobs: scores > 0 ? scores : undefined,
    scored: fields.post_sampling_probs === true ? ('sampler' as const) : undefined,
    scorePrompt: false,
    progress: fields.return_progress,
    signal: request.abort.signal,
  }));
  return { fields, jobs, settings: settingsOf(fields, sampling) };
}

function settingsOf(fields: NativeFields, sampling: ServiceJob['sampling']) {
  return {
    n_predict: fields.n_predict ?? -1,
    max_tokens: fields.n_predict ?? -1,
    seed: sampling.seed,
    temperature: sampling.temperature,
    top_k: sampling.topK,
    top_p: sampling.topP,
    min_p: sampling.minP,
    repeat_penalty: sampling.repetitionPenalty,
    repeat_last_n: sampling.repetitionWindow,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    stop: stopsOf(fields),
    ignore_eos: fields.ignore_eos ?? false,
    n_probs: fields.n_probs ?? 0,
    post_sampling_probs: fields.post_sampling_probs ?? false,
    stream: fields.stream ?? false,
    timings_per_token: fields.timings_per_token ?? false,
  };
}

/** One prompt, which may mix texts and ids, or several. */
function promptsOf({ prompt }: NativeFields, { model }: Serving): (readonly number[])[] {
  const one = (parts: readonly (string | number)[]): readonly number[] => {
    if (parts.length === 0) throw new ApiError('invalid_request_error', 'the prompt is empty', { param: 'prompt' });
    const { tokens } = preparePrompt(model, { parts });
    for (const id of tokens) checkToken(id, model.engine.model.sizes.vocabulary, 'prompt');
    return tokens;
  };
  if (typeof prompt === 'string') return [one([prompt])];
  const flat = prompt.filter((part) => typeof part !== 'object');
  // A list of texts is several prompts, one with an id in it a single one.
  if (flat.length === prompt.length && flat.some((part) => typeof part === 'number')) return [one(flat)];
  if (prompt.length === 0) throw new ApiError('invalid_request_error', 'there is no prompt', { param: 'prompt' });
  return prompt.map((part) => one(typeof part === 'object' ? part : [part]));
}

/** By id or by text, whose tokens then all get the bias, as a list of pairs or as an object; false forbids. */
function biasOf({ logit_bias: given = [] }: NativeFields, { model }: Serving): Record<string, number | false> {
  const { tokenizer, engine } = model;
  const pairs = Array.isArray(given)
    ? given
    : Object.entries(given).map(([name, value]) => [/^\d{1,8}$/.test(name) ? Number(name) : name, value] as const);
  const biases: Record<string, number | false> = {};
  for (const [name, value] of pairs) {
    for (const id of typeof name === 'number' ? [name] : textTokens(tokenizer, name, { bos: false })) {
      if (id < 0) throw new ApiError('invalid_request_error', 'there are no negative tokens', { param: 'logit_bias' });
      checkToken(id, engine.model.sizes.vocabulary, 'logit_bias');
      biases[id] = value;
    }
  }
  return biases;
}
