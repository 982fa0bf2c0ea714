/** The endpoints of llama.cpp's server: what its own tests assert of structure, in their order. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

async function post(server: RunningServer, path: string, body: object): Promise<{ status: number; json: unknown }> {
  const answer = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const json: unknown = await answer.json();
  return { status: answer.status, json };
}

const prompt = 'I believe the meaning of life is';

describe('test_basic', () => {
  it('health, props, models', async () => {
    const { server } = await serve(model, { runner: { parallel: 3 } });
    const get = async (path: string): Promise<unknown> => (await fetch(server.url + path)).json();
    expect(await get('/health')).toEqual({ status: 'ok' });
    expect(await get('/props')).toMatchObject({
      build_info: expect.stringMatching(/^linnet \d/) as unknown,
      total_slots: 3,
      default_generation_settings: { n_ctx: 1_000_000 },
    });
    expect(await get('/v1/models')).toMatchObject({
      data: [{ id: 'tiny', meta: { n_vocab: model.decoder.sizes.vocabulary, n_params: 1_054_080 } }],
    });
  });

  it('says 501 for what is not there', async () => {
    const { server } = await serve(model);
    for (const path of ['/completion', '/infill', '/slots', '/rerank', '/lora-adapters', '/v1/messages']) {
      expect(await post(server, path, {})).toMatchObject({
        status: 501,
        json: { error: { type: 'not_supported_error' } },
      });
    }
  });
});

describe('test_tokenize', () => {
  it('answers others while it tokenizes a long text', async () => {
    const { server } = await serve(model);
    const content = `${prompt} `.repeat(20_000);
    let isTokenized = false;
    const tokenizing = post(server, '/tokenize', { content }).finally(() => (isTokenized = true));
    const started = performance.now();
    const waits: number[] = [];
    while (!isTokenized) {
      const asked = performance.now();
      expect((await post(server, '/tokenize', { content: prompt })).status).toBe(200);
      waits.push(performance.now() - asked);
    }
    const { json } = await tokenizing;
    const whole = performance.now() - started;
    expect(z.object({ tokens: z.array(z.int()) }).parse(json).tokens).toEqual([...model.tokenizer.encode(content)]);
    expect(waits.length).toBeGreaterThan(4);
    // Both under the same load of the machine.
    expect(Math.max(...waits)).toBeLessThan(whole / 2);
  });

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
