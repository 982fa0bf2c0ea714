/** What the server adds to the OpenAI API: fields of vLLM, deterministic answers, measurements. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ServerMetrics } from '../../src/serving/http/metrics.ts';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { chatTemplate, continued, openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

const prompt = 'Once upon a time';
const greedy = { model: 'tiny', prompt, temperature: 0, max_tokens: 24 };

const answerSchema = z.looseObject({
  choices: z.array(
    z.looseObject({
      text: z.string(),
      finish_reason: z.string().nullable(),
      token_ids: z.array(z.int()).optional(),
      prompt_token_ids: z.array(z.int()).optional(),
      logprobs: z.looseObject({ tokens: z.array(z.string()) }).nullable(),
    }),
  ),
  usage: z.looseObject({ completion_tokens: z.int() }).nullish(),
});

/** Sends fields that the OpenAI client does not know. */
async function send(url: string, fields: object): Promise<Response> {
  const body = JSON.stringify({ ...greedy, ...fields });
  return await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
}

describe('fields of vLLM', () => {
  it('give ids of tokens, whole and in parts, and count as they go', async () => {
    const { server } = await serve(model);
    const ids = [...model.tokenizer.encode(prompt, { bos: true })];
    const asked = { return_token_ids: true, return_tokens_as_token_ids: true, logprobs: 0 };
    const { choices } = answerSchema.parse(await (await send(server.url, asked)).json());
    const [{ text, token_ids: tokens = [], logprobs }] = choices;
    expect(choices[0].prompt_token_ids).toEqual(ids);
    expect(tokens).toHaveLength(24);
    expect(model.tokenizer.decode([...ids, ...tokens])).toBe(model.tokenizer.decode(ids) + text);
    expect(logprobs?.tokens).toEqual(tokens.map((id) => `token_id:${id}`));
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    const events = await (await send(server.url, { ...asked, stream: true, stream_options })).text();
    const chunks = [...events.matchAll(/^data: (\{.*)$/gm)].map(([, json]) => answerSchema.parse(JSON.parse(json)));
    const parts = chunks.flatMap(({ choices: [choice] }) => choice ?? []);
    expect(parts.flatMap(({ token_ids: own = [] }) => own)).toEqual(tokens);
    expect(parts.flatMap(({ prompt_token_ids: own = [] }) => own)).toEqual(ids);
    const counts = chunks.map(({ usage }) => usage?.completion_tokens ?? -1);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect([counts[0], counts.at(-1)]).toEqual([0, 24]);
  });

  it('keep the stop string that ends a text', async () => {
    const { server } = await serve(model);
    const whole = await continued(model, prompt, 24);
    const stop = whole.slice(9, 14);
    const kept = await (await send(server.url, { stop, include_stop_str_in_output: true, logprobs: 0 })).json();
    const [choice] = answerSchema.parse(kept).choices;
    expect(choice).toMatchObject({ text: whole.slice(0, whole.indexOf(stop) + stop.length), finish_reason: 'stop' });
    expect(choice.logprobs?.tokens.join('').startsWith(choice.text)).toBe(true);
  });

  it('go on to min_tokens past what would end a text, with drafts too', async () => {
    const { server } = await serve(model);
    const texts = async (fields: object) => answerSchema.parse(await (await send(server.url, fields)).json()).choices;
    const [{ token_ids: all = [], text: whole }] = await texts({ return_token_ids: true });
    const ends = { stop_token_ids: [all[2]], stop: whole.slice(1, 3), return_token_ids: true };
    expect((await texts(ends))[0].token_ids?.length).toBeLessThan(3);
    const [longer] = await texts({ ...ends, min_tokens: 8 });
    expect(longer.token_ids?.length).toBeGreaterThanOrEqual(8);
    expect(longer.token_ids?.slice(0, 8)).not.toContain(all[2]);
    expect(await texts({ ...ends, min_tokens: 8, speculate: 'lookup' })).toEqual([longer]);
    // What is found in the first tokens alone ends nothing.
    const [past] = await texts({ stop: whole.slice(1, 3), min_tokens: 24 });
    expect(past.text).toBe(whole);
  });

  it('warn of prompts that are longer than what the model was trained for', async () => {
    const { server } = await serve(model);
    const warning = async (length: number): Promise<string | null> => {
      const asked = { prompt: Array.from({ length }, () => 300), max_tokens: 1 };
      return (await send(server.url, asked)).headers.get('x-linnet-warning');
    };
    expect(await warning(512)).toBeNull();
    expect(await warning(513)).toBe('a prompt has 513 tokens, but the model was trained for 512');
  });
});

describe('a server that is to be deterministic', () => {
  it('gives every number bit for bit, whoever else is there and whatever is cached', async () => {
    const { server } = await serve(model, { runner: { deterministic: true } });
    const long = Array.from({ length: 540 }, (_, i) => 10 + ((i * i) % 400));
    const asked = { prompt: long, max_tokens: 6, logprobs: 2, seed: 3, temperature: 0.7, speculate: 'lookup' };
    const answer = async (fields: object): Promise<unknown> => (await send(server.url, fields)).json();
    const alone = await answer({ ...asked, cache_salt: 'alone' });
    const others = Promise.all([1, 2].map((n) => answer({ prompt: 'A dog', n, max_tokens: 20 })));
    const among = await answer(asked);
    const again = await answer(asked);
    await others;
    const choices = (value: unknown): unknown => answerSchema.parse(value).choices;
    expect(choices(among)).toEqual(choices(alone));
    expect(choices(again)).toEqual(choices(alone));
    // From the grid of regular lengths, not from the end of what was read before.
    expect(among).toMatchObject({ usage: { prompt_tokens_details: { cached_tokens: 0 } } });
    expect(again).toMatchObject({ usage: { prompt_tokens_details: { cached_tokens: 512 } } });
  });
});

describe('measurements', () => {
  it('count drafts of rounds that had any', async () => {
    const { registry, observer } = new ServerMetrics();
    for (const [drafted, accepted] of [
      [4, 2],
      [0, 0],
      [3, 0],
    ])
      observer.drafted?.(drafted, accepted);
    const page = await registry.metrics();
    expect(page).toContain('linnet_drafts_total 2\n');
    expect(page).toContain('linnet_draft_tokens_total 7\n');
    expect(page).toContain('linnet_draft_tokens_accepted_total 2\n');
  });

  it('tell of texts, drafts, beginnings and refusals, under names of other servers too', async () => {
    const { server } = await serve(model, { http: { metricDialects: ['vllm', 'llamacpp'] } });
    const repeating = { prompt: 'one two three one two three one two three one two', speculate: 'lookup' };
    for (let i = 0; i < 2; i++) expect((await send(server.url, repeating)).status).toBe(200);
    expect((await send(server.url, { n: 0 })).status).toBe(400);
    const page = await (await fetch(`${server.url}/metrics`)).text();
    const value = (name: string): number =>
      Number(
        page
          .split('\n')
          .find((row) => row.startsWith(`${name} `))
          ?.split(' ')[1],
      );
    expect(value('linnet_texts_total{finished_reason="length"}')).toBe(2);
    expect(value('linnet_time_to_first_token_seconds_count')).toBe(2);
    expect(value('linnet_text_seconds_count')).toBe(2);
    for (const part of ['prompt', 'decode']) expect(value(`linnet_text_${part}_seconds_count`)).toBe(2);
    const ids = model.tokenizer.encode(repeating.prompt, { bos: true });
    expect(value('llamacpp:n_tokens_max')).toBe(ids.length + 24);
    expect(value('llamacpp:n_busy_slots_per_decode')).toBe(1);
    const perSecond = value('linnet_generation_tokens_total') / value('linnet_decode_seconds_total');
    expect(value('llamacpp:predicted_tokens_seconds')).toBeCloseTo(perSecond, 6);
    expect(value('llamacpp:prompt_tokens_seconds')).toBeGreaterThan(0);
    expect(value('linnet_state_bytes')).toBe((await model.engine()).stateBytes);
    expect(value('linnet_inter_token_seconds_count')).toBeGreaterThan(0);
    expect(value('linnet_draft_tokens_total')).toBeGreaterThanOrEqual(value('linnet_draft_tokens_accepted_total'));
    expect(value('linnet_prefix_tokens_reused_total')).toBeGreaterThan(0);
    expect(value('linnet_rejected_total{reason="invalid_request_error"}')).toBe(1);
    expect(value('vllm:request_success_total{model_name="tiny",finished_reason="length"}')).toBe(2);
    expect(value('vllm:time_to_first_token_seconds_count{model_name="tiny"}')).toBe(2);
    expect(value('llamacpp:tokens_predicted_total')).toBe(value('linnet_generation_tokens_total'));
    expect(page).toContain('# TYPE vllm:inter_token_latency_seconds histogram');
  });
});
