/**
 * Scores of prompts: the route of lm_eval's `local-completions`, by recorded requests that are answered by our server and read
 * as that client reads them, and `prompt_logprobs`.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { present, thirdParty } from '../fixtures.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

const file = thirdParty('evaluation/golden/api_local_completions.json');
const ids = z.array(z.number());
const scored = z.object({
  prompt: z.array(ids),
  echo: z.literal(true),
  logprobs: z.literal(1),
  max_tokens: z.literal(1),
});
const recordedSchema = z.object({
  cases: z.array(
    z.object({
      name: z.string(),
      http: z.array(z.object({ path: z.string(), body: z.record(z.string(), z.unknown()), response: z.unknown() })),
    }),
  ),
});
const logprobs = z.strictObject({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: ids,
});
const answerSchema = z.object({
  choices: z.array(
    z.object({
      index: z.number(),
      text: z.string(),
      logprobs: logprobs.nullable(),
      prompt_logprobs: z.unknown().optional(),
    }),
  ),
});

const progressSchema = z.object({ total: z.int(), processed: z.int(), cache: z.int() });

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate, { name: 'toy-model' });
});
afterAll(() => model[Symbol.asyncDispose]());

/** Natural logarithms of probabilities, in double precision. */
function logSoftmax(logits: Float32Array): Float64Array {
  const largest = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
  return Float64Array.from(logits, (logit) => logit - largest - Math.log(total));
}

describe.skipIf(file === undefined)('recorded requests of lm_eval (skipped without LINNET_FIXTURES/evaluation)', () => {
  it('get log-probabilities with prompt length + 1 entries, the same floats in both places, and the right ones', async () => {
    const { server } = await serve(model, { runner: { parallel: 4 } });
    const { cases } = recordedSchema.parse(JSON.parse(readFileSync(present(file), 'utf8')));
    let answered = 0;
    for (const { path, body, response } of cases.flatMap(({ http }) => http)) {
      const request = scored.safeParse(body);
      const recorded = answerSchema.safeParse(response);
      if (!request.success || !recorded.success) continue;
      const result = await fetch(server.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer test-key' },
        body: JSON.stringify(body),
      });
      const json: unknown = await result.json();
      expect(result.status, JSON.stringify(json)).toBe(200);
      const { choices } = answerSchema.parse(json);
      expect(choices.map(({ index }) => index)).toEqual(request.data.prompt.map((_, index) => index));
      for (const { index, logprobs: own } of choices) {
        const prompt = request.data.prompt[index];
        const length = prompt.length + 1;
        expect(own?.token_logprobs).toHaveLength(length);
        expect([own?.tokens, own?.top_logprobs, own?.text_offset].map((list) => list?.length)).toEqual([
          length,
          length,
          length,
        ]);
        own?.tokens.slice(1).forEach((token, i) => {
          expect(own.top_logprobs[i + 1]?.[token]).toBe(own.token_logprobs[i + 1]);
        });
        const engine = await model.engine();
        const state = engine.newState();
        for (const [i, token] of prompt.slice(0, -1).entries()) {
          const { logits } = await engine.advance(state, token);
          const expected = logSoftmax(logits);
          expect(own?.token_logprobs[i + 1]).toBeCloseTo(expected[prompt[i + 1]], 3);
          expect(Math.max(...Object.values(own?.top_logprobs[i + 1] ?? {}))).toBeCloseTo(Math.max(...expected), 3);
        }
        answered++;
      }
    }
    expect(answered).toBeGreaterThan(20);
  });

  it('of texts as prompts, and of continuations, are understood', async () => {
    const { server } = await serve(model, { runner: { parallel: 4 } });
    const { cases } = recordedSchema.parse(JSON.parse(readFileSync(present(file), 'utf8')));
    const bodies = cases.flatMap(({ http }) => http).filter(({ body }) => !scored.safeParse(body).success);
    expect(bodies.length).toBeGreaterThan(5);
    for (const { path, body } of bodies) {
      const headers = { 'content-type': 'application/json' };
      const result = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
      expect(result.status).toBe(200);
      const answer: unknown = await result.json();
      const { choices } = answerSchema.parse(answer);
      for (const { logprobs: own } of choices) {
        if (body.logprobs === undefined) expect(own).toBeNull();
        else expect(own?.token_logprobs.length).toBeGreaterThan(1);
      }
    }
  });
});

describe('prompts', () => {
  const posted = (fields: object): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(fields),
  });

  it('are read anew where cache_prompt is false, and tell how far they are', async () => {
    const { server } = await serve(model);
    const asked = { prompt: 'Once upon a time there was', max_tokens: 1, stream: true, return_progress: true };
    const cached: number[] = [];
    for (const cache_prompt of [true, false, true]) {
      const events = await (await fetch(`${server.url}/v1/completions`, posted({ ...asked, cache_prompt }))).text();
      const progress = [...events.matchAll(/"prompt_progress":(\{.*?\})/g)].map(([, json]) =>
        progressSchema.parse(JSON.parse(json)),
      );
      const { total, processed, cache } = progress[progress.length - 1];
      expect(processed).toBe(total);
      cached.push(cache);
    }
    expect(cached).toEqual([0, 0, expect.any(Number)]);
    expect(cached[2]).toBeGreaterThan(0);
  });

  it('are scored: the same numbers, with ranks, of completions and of chats', async () => {
    const { server, client } = await serve(model);
    const prompt = 'Once upon a time';
    const place = z.record(z.string(), z.object({ logprob: z.number(), rank: z.int(), decoded_token: z.string() }));
    const places = z.tuple([z.null()], place);
    const asked = { prompt, echo: true, logprobs: 1, prompt_logprobs: 3, max_tokens: 1, n: 2, temperature: 1 };
    const { choices } = answerSchema.parse(await (await fetch(`${server.url}/v1/completions`, posted(asked))).json());
    const [first, ...scored] = places.parse(choices[1].prompt_logprobs);
    expect([first, choices[0].prompt_logprobs]).toEqual([null, choices[1].prompt_logprobs]);
    const ids = [...model.tokenizer.encode(prompt, { bos: true })];
    const { token_logprobs: echoed = [], top_logprobs: top = [] } = choices[1].logprobs ?? {};
    expect(scored.map((own, i) => own[ids[i + 1]].logprob)).toEqual(echoed.slice(1, ids.length));
    for (const own of scored) expect(Object.values(own).filter(({ rank }) => rank <= 3)).toHaveLength(3);
    // With the echo as many as `logprobs` says, and the token itself.
    for (const own of top.slice(1)) expect(Object.keys(own ?? {}).length).toBeLessThanOrEqual(2);
    const messages = [{ role: 'user' as const, content: 'Tell.' }];
    const chat = { model: model.name, messages, max_completion_tokens: 1, prompt_logprobs: 0 };
    const answer = z.looseObject({ prompt_logprobs: places }).parse(await client.chat.completions.create(chat));
    expect(answer.prompt_logprobs).toHaveLength(model.template?.encode(messages).length ?? -1);
  });
});
