/** The endpoints of llama.cpp's server: what its own tests assert of structure, in their order. */
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { TextModel } from '../../src/engine/text-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

const folder = suiteFolder();
let model: TextModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

const object = z.record(z.string(), z.unknown());
const answerSchema = z.looseObject({
  content: z.string(),
  tokens: z.array(z.number()),
  stop: z.boolean(),
  stop_type: z.string(),
  tokens_predicted: z.number(),
  tokens_evaluated: z.number(),
  truncated: z.literal(false),
  has_new_line: z.boolean(),
  timings: z.looseObject({ prompt_n: z.number(), predicted_n: z.number(), cache_n: z.number() }),
});

async function post(server: RunningServer, path: string, body: object): Promise<{ status: number; json: unknown }> {
  const answer = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const json: unknown = await answer.json();
  return { status: answer.status, json };
}

async function complete(server: RunningServer, body: object) {
  const { status, json } = await post(server, '/completion', body);
  expect(status, JSON.stringify(json)).toBe(200);
  return answerSchema.parse(json);
}

/** The events of a stream. */
async function stream(server: RunningServer, body: object): Promise<Record<string, unknown>[]> {
  const answer = await fetch(`${server.url}/completion`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
  });
  expect(answer.headers.get('content-type')).toContain('text/event-stream');
  const events = (await answer.text()).split('\n\n').filter((event) => event.startsWith('data: '));
  return events.map((event) => object.parse(JSON.parse(event.slice('data: '.length))));
}

const prompt = 'I believe the meaning of life is';
const greedy = { prompt, n_predict: 12, temperature: 0 };

describe('test_basic', () => {
  it('health, props, slots, models', async () => {
    const { server } = await serve(model, { parallel: 3 });
    const get = async (path: string): Promise<unknown> => (await fetch(server.url + path)).json();
    expect(await get('/health')).toEqual({ status: 'ok' });
    expect(await get('/props')).toMatchObject({
      build_info: expect.stringMatching(/^linnet \d/) as unknown,
      total_slots: 3,
      default_generation_settings: { n_ctx: 1_000_000 },
    });
    const slots = z.array(z.looseObject({ id: z.number(), is_processing: z.boolean() })).parse(await get('/slots'));
    expect(slots.map(({ id, is_processing: works }) => [id, works])).toEqual([0, 1, 2].map((id) => [id, false]));
    expect(await get('/v1/models')).toMatchObject({
      data: [{ id: 'tiny', meta: { n_vocab: model.engine.model.sizes.vocabulary, n_params: 1_054_080 } }],
    });
  });

  it('says 501 for what is not there', async () => {
    const { server } = await serve(model);
    for (const path of ['/infill', '/rerank', '/lora-adapters', '/v1/messages']) {
      expect(await post(server, path, {})).toMatchObject({
        status: 501,
        json: { error: { type: 'not_supported_error' } },
      });
    }
    const save = await post(server, '/slots/0?action=save', { filename: 'x' });
    expect(save).toMatchObject({ status: 501 });
  });
});

describe('test_completion', () => {
  it('counts tokens, and gives tokens only where asked', async () => {
    const { server } = await serve(model);
    const plain = await complete(server, greedy);
    expect(plain.timings).toMatchObject({ prompt_n: plain.tokens_evaluated, predicted_n: 12 });
    expect(plain).toMatchObject({
      stop: true,
      stop_type: 'limit',
      tokens: [],
      tokens_predicted: 12,
      prompt: ` ${prompt}`.trim(),
    });
    const counted = await complete(server, { ...greedy, return_tokens: true });
    expect(model.tokenizer.decode(counted.tokens)).toBe(plain.content);
    expect(counted.timings.cache_n).toBe(plain.tokens_evaluated - 1);
    const fresh = await complete(server, { ...greedy, cache_prompt: false });
    expect([fresh.timings.cache_n, fresh.content]).toEqual([0, plain.content]);
  });

  it('streams the text that it gives whole', async () => {
    const { server } = await serve(model);
    const whole = await complete(server, greedy);
    const events = await stream(server, { ...greedy, return_tokens: true, timings_per_token: true });
    expect(events.map(({ content }) => content).join('')).toBe(whole.content);
    expect(events.slice(0, -1).every(({ stop, timings }) => stop === false && timings !== undefined)).toBe(true);
    expect(events.slice(0, -1).flatMap(({ tokens }) => tokens)).toHaveLength(12);
    expect(events.at(-1)).toMatchObject({ stop: true, stop_type: 'limit', tokens_predicted: 12, content: '' });
  });

  it('repeats with a seed, differs with another', async () => {
    const { server } = await serve(model);
    const seeded = (seed: number) => complete(server, { prompt, n_predict: 12, seed, temperature: 1 });
    const first = await seeded(42);
    expect((await seeded(42)).content).toBe(first.content);
    expect((await seeded(43)).content).not.toBe(first.content);
  });

  it('answers others while it tokenizes a long text', async () => {
    const { server } = await serve(model);
    const content = `${prompt} `.repeat(20_000);
    let isTokenized = false;
    const tokenizing = post(server, '/tokenize', { content }).finally(() => (isTokenized = true));
    const waits: number[] = [];
    while (!isTokenized) {
      const asked = performance.now();
      expect((await post(server, '/tokenize', { content: prompt })).status).toBe(200);
      waits.push(performance.now() - asked);
    }
    const { json } = await tokenizing;
    const started = performance.now();
    expect(z.object({ tokens: z.array(z.int()) }).parse(json).tokens).toEqual([...model.tokenizer.encode(content)]);
    expect(waits.length).toBeGreaterThan(4);
    expect(Math.max(...waits)).toBeLessThan((performance.now() - started) / 2);
  });

  it('takes prompts as text, ids, a mixture, and several', async () => {
    const { server } = await serve(model);
    const ids = [...model.tokenizer.encode(prompt, { bos: true })];
    const whole = await complete(server, greedy);
    expect((await complete(server, { ...greedy, prompt: ids })).content).toBe(whole.content);
    const mixed = [...ids.slice(0, 3), model.tokenizer.decode(ids.slice(3))];
    expect((await complete(server, { ...greedy, prompt: mixed })).tokens_evaluated).toBeGreaterThan(3);
    const { json } = await post(server, '/completion', { ...greedy, prompt: [prompt, ids, ['Once', 5]] });
    const several = z.array(answerSchema).parse(json);
    expect(several.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(several[0].content).toBe(whole.content);
    const choices = z.array(answerSchema).parse((await post(server, '/completion', { ...greedy, n_cmpl: 2 })).json);
    expect(choices.map(({ content }) => content)).toEqual([whole.content, whole.content]);
  });

  it.each([
    [1, 3],
    [2, 2],
    [2, 4],
    [4, 6],
  ])('%i slots, %i requests', async (parallel, requests) => {
    const { server } = await serve(model, { parallel });
    const answers = Promise.all(Array.from({ length: requests }, () => complete(server, { ...greedy, n_predict: 96 })));
    await expect.poll(() => server.runner.active, { interval: 1 }).toBeGreaterThan(0);
    expect(new Set((await answers).map(({ content }) => content)).size).toBe(1);
  });

  it('refuses a prompt that is too long, saying by how much', async () => {
    const { server } = await serve(model, { limits: { promptTokens: 10 } });
    expect(await post(server, '/completion', { ...greedy, prompt: prompt.repeat(9) })).toMatchObject({
      status: 400,
      json: { error: { type: 'exceed_context_size_error', n_ctx: 10 } },
    });
  });

  it('picks response fields', async () => {
    const { server } = await serve(model);
    const response_fields = ['content', 'generation_settings/n_predict', 'prompt', 'nothing/here'];
    const { json } = await post(server, '/completion', { ...greedy, response_fields });
    expect(Object.keys(object.parse(json)).sort()).toEqual(['content', 'generation_settings/n_predict', 'prompt']);
    expect(json).toMatchObject({ 'generation_settings/n_predict': 12 });
  });

  const probability = z.looseObject({ id: z.number(), token: z.string(), bytes: z.array(z.number()) });
  it('gives n_probs, of the model and after sampling, whole and streamed', async () => {
    const { server } = await serve(model);
    const of = z.array(
      probability.extend({
        logprob: z.number().max(0),
        top_logprobs: z.array(probability.extend({ logprob: z.number().max(0) })).length(10),
      }),
    );
    const whole = await complete(server, { ...greedy, n_probs: 10 });
    const tokens = of.length(12).parse(whole.completion_probabilities);
    expect(tokens.map(({ token }) => token).join('')).toBe(whole.content);
    const events = await stream(server, { ...greedy, n_probs: 10 });
    expect(events.flatMap((event) => of.parse(event.completion_probabilities ?? []))).toEqual(tokens);
    const after = z.array(
      probability.extend({
        prob: z.number().gt(0).max(1),
        top_probs: z.array(probability.extend({ prob: z.number().min(0).max(1) })).length(10),
      }),
    );
    const sampled = await complete(server, { ...greedy, temperature: 1, n_probs: 10, post_sampling_probs: true });
    for (const { top_probs: top } of after.length(12).parse(sampled.completion_probabilities)) {
      expect(top.reduce((sum, { prob }) => sum + prob, 0)).toBeLessThanOrEqual(1.000001);
    }
    const certain = await complete(server, { ...greedy, n_probs: 10, post_sampling_probs: true });
    for (const { top_probs: top } of after.parse(certain.completion_probabilities)) expect(top[0].prob).toBe(1);
  });

  it('takes logit_bias in four forms', async () => {
    const { server } = await serve(model);
    const [id] = [...model.tokenizer.encode('z')];
    const forms: readonly unknown[] = [[[id, 100]], [['z', 100]], { [id]: 100 }, { z: 100 }];
    for (const logit_bias of forms) {
      expect((await complete(server, { ...greedy, n_predict: 4, logit_bias })).content).toBe(
        model.tokenizer.decode([id, id, id, id]),
      );
    }
    const first = (await complete(server, { ...greedy, n_predict: 1, return_tokens: true })).tokens[0];
    const forbidden = await complete(server, {
      ...greedy,
      n_predict: 8,
      logit_bias: [[first, false]],
      return_tokens: true,
    });
    expect(forbidden.tokens).not.toContain(first);
  });

  it('ends at words, at EOS, and with JSON', async () => {
    const { server } = await serve(model);
    const whole = await complete(server, greedy);
    const word = whole.content.slice(6, 9);
    const stopped = await complete(server, { ...greedy, stop: [word] });
    expect(stopped).toMatchObject({ stop_type: 'word', stopping_word: word });
    expect(stopped.content).toBe(whole.content.slice(0, whole.content.indexOf(word)));
    const json = await complete(server, { ...greedy, n_predict: 60, json_schema: { enum: ['a', 'b'] } });
    expect(json.stop_type).toBe('eos');
    expect(['a', 'b']).toContain(JSON.parse(json.content));
  });

  it('reports how the prompt is read, and reads without writing', async () => {
    const { server } = await serve(model, { chunk: 4 });
    const events = await stream(server, { ...greedy, return_progress: true });
    const progress = z
      .array(z.object({ total: z.number(), cache: z.literal(0), processed: z.number(), time_ms: z.number() }))
      .parse(events.flatMap(({ prompt_progress: own }) => own ?? []));
    expect(progress.length).toBeGreaterThan(2);
    expect(progress.map(({ processed }) => processed)).toEqual(
      [...progress.map(({ processed }) => processed)].sort((a, b) => a - b),
    );
    expect(progress.at(-1)?.processed).toBe(progress.at(-1)?.total);
    const read = await complete(server, { ...greedy, n_predict: 0 });
    expect([read.content, read.tokens_predicted, read.stop_type]).toEqual(['', 0, 'limit']);
  });

  it('cancels within a second', async () => {
    const { server } = await serve(model, { parallel: 1 });
    const signal = AbortSignal.timeout(100);
    const endless = { prompt, n_predict: 1e6, ignore_eos: true };
    const body = JSON.stringify(endless);
    await expect(
      fetch(`${server.url}/completion`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        signal,
      }),
    ).rejects.toThrow();
    await expect
      .poll(async () => (await fetch(`${server.url}/slots?fail_on_no_slot=1`)).status, { timeout: 5000 })
      .toBe(200);
  });

  const refused: readonly object[] = [
    { prompt: [[]] },
    { prompt: [] },
    { prompt: 5 },
    { prompt: [-1] },
    { prompt: [[1, 5000]] },
    { n_predict: -2 },
    { id_slot: 99 },
    { n_probs: 21 },
    { grammar: 'root ::= "x"' },
    { samplers: ['top_k'] },
    { mirostat: 2 },
    { logit_bias: [[1]] },
    { logit_bias: { 5000: 1 } },
    { json_schema: { type: 'hiccup' } },
    { stop: [''] },
  ];
  it.each(refused)('%j is refused', async (fields) => {
    const { server } = await serve(model);
    expect((await post(server, '/completion', { ...greedy, ...fields })).status).toBe(400);
  });
});

describe('test_slot_save', () => {
  it('saves, restores and erases the text of a slot', async () => {
    const slotFolder = join(folder, randomUUID());
    const { server } = await serve(model, { parallel: 2, slotFolder, cacheBytes: 0 });
    const first = await complete(server, { ...greedy, id_slot: 1, return_tokens: true });
    const saved = await post(server, '/slots/1?action=save', { filename: 'slot.bin' });
    const length = first.tokens_evaluated + 12;
    expect(saved).toMatchObject({ status: 200, json: { id_slot: 1, filename: 'slot.bin', n_saved: length } });
    // A prompt that goes on from the text of the slot reads what is new, and its last token before.
    const ids = [...model.tokenizer.encode(prompt, { bos: true }), ...first.tokens];
    const longer = { ...greedy, prompt: [...ids, 5, 6, 7] };
    const on = await complete(server, { ...longer, id_slot: 1 });
    expect(on.timings.prompt_n).toBe(4);
    const restored = await post(server, '/slots/0?action=restore', { filename: 'slot.bin' });
    expect(restored).toMatchObject({ status: 200, json: { id_slot: 0, n_restored: length } });
    const other = await complete(server, { ...longer, id_slot: 0, return_tokens: true });
    expect([other.timings.prompt_n, other.content]).toEqual([4, on.content]);
    const clone = '/slots/0?action=clone_to&target=';
    expect(await post(server, `${clone}1`, {})).toMatchObject({ status: 200, json: { id_slot: 0, id_slot_target: 1 } });
    for (const target of ['', '2', 'x']) expect((await post(server, clone + target, {})).status).toBe(400);
    const after = { ...greedy, prompt: [...longer.prompt, ...other.tokens, 8] };
    const here = await complete(server, { ...after, id_slot: 0 });
    const there = await complete(server, { ...after, id_slot: 1 });
    // One new token, and the last before it.
    expect([there.content, there.timings.prompt_n, here.timings.prompt_n]).toEqual([here.content, 2, 2]);
    expect(await post(server, '/slots/0?action=erase', {})).toMatchObject({
      status: 200,
      json: { n_erased: after.prompt.length + 12 },
    });
    expect((await complete(server, { ...longer, id_slot: 0 })).timings.prompt_n).toBe(longer.prompt.length);
  });

  it('refuses files that are broken, of another place, or not there, and lives', async () => {
    const slotFolder = join(folder, randomUUID());
    const { server } = await serve(model, { slotFolder });
    await complete(server, { ...greedy, id_slot: 0 });
    await post(server, '/slots/0?action=save', { filename: 'good' });
    const bytes = await readFile(join(slotFolder, 'anyone.good'));
    await writeFile(join(slotFolder, 'anyone.short'), bytes.subarray(0, bytes.length / 2));
    await writeFile(
      join(slotFolder, 'anyone.flipped'),
      bytes.map((byte, i) => (i === bytes.length - 5 ? byte ^ 255 : byte)),
    );
    await writeFile(join(slotFolder, 'anyone.huge'), Buffer.alloc(8, 0xff));
    for (const filename of ['short', 'flipped', 'huge', 'nowhere', '../good', '/etc/passwd', '', 'x'.repeat(300)]) {
      const { status } = await post(server, '/slots/0?action=restore', { filename });
      expect([filename.slice(0, 20), status]).toEqual([filename.slice(0, 20), 400]);
    }
    for (const path of ['/slots/99?action=erase', '/slots/x?action=erase', '/slots/0?action=dance', '/slots/0']) {
      expect((await post(server, path, {})).status).toBe(400);
    }
    expect((await post(server, '/slots/0?action=restore', { filename: 'good' })).status).toBe(200);
  });
});

describe('test_tokenize', () => {
  it('gives pieces, as bytes where they are parts of a character', async () => {
    const { server } = await serve(model);
    const { json } = await post(server, '/tokenize', { content: 'What 媽', with_pieces: true });
    const { tokens } = z
      .object({ tokens: z.array(z.object({ id: z.number(), piece: z.union([z.string(), z.array(z.number())]) })) })
      .parse(json);
    const bytes = tokens.flatMap(({ piece }) =>
      typeof piece === 'string' ? [...new TextEncoder().encode(piece)] : piece,
    );
    expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe('What 媽');
    const back = await post(server, '/detokenize', { tokens: tokens.map(({ id }) => id) });
    expect(back.json).toMatchObject({ content: 'What 媽' });
  });

  it('makes control tokens of their names only where it is asked to', async () => {
    const { server } = await serve(model);
    const tokens = async (fields: object): Promise<unknown> =>
      (await post(server, '/tokenize', { content: 'a</s>', ...fields })).json;
    const { bosId, eosId } = model.tokenizer;
    const [a] = model.tokenizer.encode('a');
    expect(await tokens({ parse_special: true })).toMatchObject({ tokens: [a, eosId] });
    expect(await tokens({ parse_special: true, add_special: true })).toMatchObject({ tokens: [bosId, a, eosId] });
    expect(await tokens({})).toMatchObject({ tokens: [...model.tokenizer.encode('a</s>')] });
  });
});
