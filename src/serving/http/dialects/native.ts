/** POST /completion: the endpoint of llama.cpp's server, with its fields, defaults and answers. */
import { z } from 'zod';
import { leadsTo, preparePrompt } from '../../../engine/prompt.ts';
import type { EndEvent, TextJob } from '../../../engine/text-job.ts';
import type { PlacedScore } from '../../../engine/text/scores.ts';
import { textTokens } from '../../../tokenizer/encode-text.ts';
import { whenEncoded } from '../../../tokenizer/later-encoding.ts';
import type { ServerLimits } from '../limits.ts';
import type { Serving } from '../request-context.ts';
import { checkInVocabulary, maybe, type Refusals, refuse, some, tokenId } from '../request-fields.ts';
import {
  type AnswerFold,
  type At,
  type ChoiceRecord,
  type Dialect,
  type TextRecord,
  visibleScores,
} from './dialect.ts';
import { dataFraming } from './event-stream.ts';
import { nativeProbabilities, progressOf, timingsOf, timingsSoFar } from './answer-parts.ts';
import { commonSampling, jobOf, samplingFields, stopsOf } from './text-fields.ts';

/** Tokens that -1 as their number stands for. */
export const unboundedTokens = 4096;

/** Entries of logit_bias. */
const mostBiases = 1024;

const bias = z.union([z.number().min(-100).max(100), z.literal(false)]);

export const repetitionFields = {
  repeat_penalty: maybe(z.number().min(0.01).max(100)),
  repeat_last_n: maybe(z.int().min(-1).max(65536)),
};

function schema(limits: ServerLimits) {
  const pieces = z.array(z.union([z.string(), tokenId])).max(limits.promptTokens);
  return z.object({
    ...samplingFields(limits),
    prompt: z.union([z.string(), pieces, z.array(z.union([z.string(), pieces])).max(limits.prompts)], {
      error: `expected a text, token ids, a mixture of them, or up to ${limits.prompts} of these`,
    }),
    n_predict: maybe(z.int().min(-1).max(limits.maxTokens)),
    ...repetitionFields,
    logit_bias: maybe(
      z.union([
        z.array(z.tuple([z.union([z.int(), z.string().min(1).max(256)]), bias])).max(mostBiases),
        z.record(z.string().min(1).max(256), bias).refine((biases) => Object.keys(biases).length <= mostBiases, {
          error: `expected at most ${mostBiases} entries`,
        }),
      ]),
    ),
    n_probs: maybe(z.int().min(0).max(limits.logprobs)),
    post_sampling_probs: maybe(z.boolean()),
    n_cmpl: maybe(z.int().min(1).max(limits.n)),
    id_slot: maybe(z.int().min(-1)),
    return_tokens: maybe(z.boolean()),
    timings_per_token: maybe(z.boolean()),
    response_fields: maybe(z.array(z.string().min(1).max(128)).max(64)),
  });
}

type Fields = z.output<ReturnType<typeof schema>>;

const otherThan =
  (neutral: number) =>
  (value: unknown): boolean =>
    value !== undefined && value !== null && value !== neutral;
const positive = (value: unknown): boolean => typeof value === 'number' && value > 0;

const refusals: Refusals = {
  grammar: some,
  samplers: some,
  image_data: some,
  multimodal_data: some,
  lora: some,
  response_format: some,
  mirostat: otherThan(0),
  typical_p: otherThan(1),
  dynatemp_range: otherThan(0),
  dry_multiplier: otherThan(0),
  xtc_probability: otherThan(0),
  n_indent: otherThan(0),
  top_n_sigma: positive,
  t_max_predict_ms: positive,
};

export const nativeCompletion: Dialect<Fields> = {
  summary: "Continues prompts, in the shapes of llama.cpp's server",
  body: schema,
  refusals,
  framing: dataFraming,
  async ask(fields, at) {
    const { serving, request } = at;
    const { runner, slots } = serving;
    const { n_predict: predicted = -1, n_cmpl: n = 1, n_probs: probabilities = 0, id_slot: slot = -1 } = fields;
    if (slot >= runner.parallel) refuse(`there are ${runner.parallel} slots`, 'id_slot');
    const sampling = await samplingOf(fields, at);
    const asked = predicted === -1 ? unboundedTokens : predicted;
    const { logit_bias: _, ...shared } = fields;
    const jobs = (await promptsOf(fields, at)).map((tokens): TextJob => {
      const job = jobOf({ ...shared, n }, at, { tokens }, { asked, text: probabilities || undefined, sampling });
      return { ...job, scores: { ...job.scores, of: fields.post_sampling_probs === true ? 'sampler' : undefined } };
    });
    const { id, content, keep } = slots.take(request.key, slot, request.abort.signal);
    // A prompt that begins with all that its slot has read goes on from there.
    const fromSlot = (job: TextJob): TextJob =>
      content !== undefined && leadsTo(content, job.prompt.tokens) ? { ...job, state: content.state.fork() } : job;
    return {
      jobs: fields.cache_prompt === false ? jobs : jobs.map(fromSlot),
      keep,
      answer: (records) => answerOf(fields, serving, id, settingsOf(fields, sampling), records),
    };
  },
};

/** Settings of the sampler by the names of llama.cpp. */
export function llamaSampling(
  fields: Parameters<typeof commonSampling>[0] & Partial<z.output<z.ZodObject<typeof repetitionFields>>>,
  { penalty, ...defaults }: Parameters<typeof commonSampling>[1] & { readonly penalty: number },
) {
  const { repeat_penalty: repetitionPenalty = penalty, repeat_last_n: window = 64, seed } = fields;
  return {
    ...commonSampling({ ...fields, seed: seed === -1 ? undefined : seed }, defaults),
    repetitionPenalty,
    repetitionWindow: window === -1 ? 65536 : window,
  };
}

async function samplingOf(fields: Fields, { serving, request }: At) {
  return {
    ...llamaSampling(fields, { temperature: 0.8, topP: 0.95, topK: 40, minP: 0.05, penalty: 1 }),
    logitBias: await whenEncoded(() => biasOf(fields, serving), request.abort.signal),
  };
}

function settingsOf(fields: Fields, sampling: Awaited<ReturnType<typeof samplingOf>>) {
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
async function promptsOf({ prompt }: Fields, { serving: { model }, request }: At): Promise<(readonly number[])[]> {
  const inputs = partsOf(prompt);
  if (inputs.length === 0) refuse('there is no prompt', 'prompt');
  if (inputs.some((parts) => parts.length === 0)) refuse('the prompt is empty', 'prompt');
  const prepare = () => inputs.map((parts) => preparePrompt(model, { parts }).tokens);
  const prompts = await whenEncoded(prepare, request.abort.signal);
  checkInVocabulary(prompts.flat(), model.engine.model.sizes.vocabulary, 'prompt');
  return prompts;
}

function partsOf(prompt: Fields['prompt']): (readonly (string | number)[])[] {
  if (typeof prompt === 'string') return [[prompt]];
  const flat = prompt.filter((part) => typeof part !== 'object');
  // A list of texts is several prompts, one with an id in it a single one.
  if (flat.length === prompt.length && flat.some((part) => typeof part === 'number')) return [flat];
  return prompt.map((part) => (typeof part === 'object' ? part : [part]));
}

/** By id or by text, whose tokens then all get the bias, as a list of pairs or as an object; false forbids. */
function biasOf({ logit_bias: given = [] }: Fields, { model }: Serving): Record<string, number | false> {
  const { tokenizer, engine } = model;
  const pairs = Array.isArray(given)
    ? given
    : Object.entries(given).map(([name, value]) => [/^\d{1,8}$/.test(name) ? Number(name) : name, value] as const);
  const biases: Record<string, number | false> = {};
  for (const [name, value] of pairs) {
    const ids = typeof name === 'number' ? [name] : textTokens(tokenizer, name, { bos: false });
    if (ids[0] < 0) refuse('there are no negative tokens', 'logit_bias');
    checkInVocabulary(ids, engine.model.sizes.vocabulary, 'logit_bias');
    for (const id of ids) biases[id] = value;
  }
  return biases;
}

function answerOf(
  fields: Fields,
  { model }: Serving,
  slot: number,
  settings: object,
  records: readonly TextRecord[],
): AnswerFold {
  const part = (
    record: TextRecord,
    { index, tokens: written }: ChoiceRecord,
    content: string,
    tokens: readonly number[],
  ) => ({
    index,
    content,
    tokens,
    stop: false,
    id_slot: slot,
    tokens_predicted: written.length,
    tokens_evaluated: record.prompt.length,
  });
  const probabilities = (scores: readonly PlacedScore[]) =>
    (fields.n_probs ?? 0) === 0
      ? {}
      : {
          completion_probabilities: nativeProbabilities(scores, model.pieces, fields.post_sampling_probs === true),
        };
  /** The answer of a text that has ended, or of a prompt that was only read. */
  const answer = (record: TextRecord, choice: ChoiceRecord, streams = false): object => {
    const { end, text } = choice;
    const whole = {
      ...part(record, choice, streams ? '' : text, fields.return_tokens === true && !streams ? choice.tokens : []),
      stop: true,
      model: model.name,
      tokens_cached: end?.generation.state.length ?? record.prompt.length,
      generation_settings: settings,
      prompt: model.tokenizer.decode(record.prompt),
      has_new_line: text.includes('\n'),
      truncated: false,
      stop_type: { eos: 'eos', length: 'limit', stop: 'word', abort: 'none' }[end?.generation.finish ?? 'length'],
      stopping_word: end === undefined ? '' : stoppingWord(model.tokenizer, stopsOf(fields), end),
      timings: end === undefined ? timingsSoFar(record, 0) : timingsOf(record, end),
      ...(streams || end === undefined ? {} : probabilities(visibleScores(choice))),
    };
    return picked(whole, fields.response_fields);
  };
  const onlyRead = () => records.every(({ ended }) => ended === undefined);
  return {
    chunks(piece) {
      const { record } = piece;
      if (piece.type === 'progress') {
        if (fields.return_progress !== true) return [];
        return [{ ...part(record, record.choices[0], '', []), prompt_progress: progressOf(piece.event) }];
      }
      if (piece.type === 'prompt') return [];
      const { choice } = piece;
      if (piece.type === 'end') return [answer(record, choice, true)];
      const { text, tokens, scores } = piece.event;
      const timings = fields.timings_per_token === true && { timings: timingsSoFar(record, choice.tokens.length) };
      return [{ ...part(record, choice, text, tokens), ...probabilities(scores), ...timings }];
    },
    last: () => (onlyRead() ? records.map((record) => answer(record, record.choices[0])) : []),
    whole() {
      const all = records.flatMap((record) => record.choices.map((choice) => answer(record, choice)));
      return all.length === 1 ? all[0] : all;
    },
  };
}

/** The stop string that follows the text in the decoded tokens. */
function stoppingWord(
  tokenizer: Serving['model']['tokenizer'],
  stops: readonly string[],
  { generation }: EndEvent,
): string {
  if (generation.finish !== 'stop') return '';
  const after = tokenizer.decode(generation.tokens).slice(generation.text.length);
  return (
    stops.find((word) => after.startsWith(word)) ??
    stops.find((word) => after.trimStart().startsWith(word.trimStart())) ??
    ''
  );
}

/** Fields by their names; one inside of another is named `outer/inner`, and keeps that name. */
function picked(answer: object, names: readonly string[] | undefined): object {
  if (names === undefined || names.length === 0) return answer;
  const found = names.flatMap((name) => {
    let value: unknown = answer;
    for (const key of name.split('/')) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return [];
      value = Object.entries(value).find(([own]) => own === key)?.[1];
    }
    return [[name, value] as const];
  });
  return Object.fromEntries(found);
}
