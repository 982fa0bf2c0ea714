/** A model that reads a text and writes another, served. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncoderDecoder } from '../../src/open/language-model.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { serve } from './served.ts';
import { open } from '../../src/open/index.ts';

const folder = suiteFolder();
let model: EncoderDecoder;
beforeAll(async () => {
  await saveTinyModel(join(folder, 't5'), 1, 't5');
  model = await open(join(folder, 't5'), { kind: 'encoder-decoder', name: 't5', threads: 1 });
});
afterAll(() => model[Symbol.asyncDispose]());

/** What the model writes about a text, without a server. */
async function written(text: string): Promise<string> {
  return await model.generate(text, { maxTokens: 8, ignoreEos: true }).text();
}

describe('a T5 model', () => {
  it('writes about its prompts, several at a time, streamed too', async () => {
    const { client } = await serve(model);
    const prompt = ['summarize: a whale', 'summarize: a ship'];
    const request = { model: 't5', max_tokens: 8, temperature: 0, ignore_eos: true };
    const answer = await client.completions.create({ ...request, prompt });
    expect(answer.choices.map(({ text }) => text)).toEqual([await written(prompt[0]), await written(prompt[1])]);
    const stream = await client.completions.create({ ...request, prompt: prompt[0], stream: true });
    let text = '';
    for await (const { choices } of stream) text += choices[0]?.text ?? '';
    expect(text).toBe(answer.choices[0].text);
    const json = { json_schema: { enum: [1, 2] }, ignore_eos: false, max_tokens: 20 };
    const held = await client.completions.create({ ...request, prompt: prompt[0], ...json });
    expect([1, 2]).toContain(JSON.parse(held.choices[0].text));
  });

  it('refuses texts that are longer than it may read, before the encoder reads them', async () => {
    const { client, server } = await serve(model, { http: { limits: { textTokens: 40 } } });
    const ask = (length: number) =>
      client.completions.create({ model: 't5', prompt: Array<number>(length).fill(65), max_tokens: 1 });
    await ask(39); // and EOS
    await expect(ask(40)).rejects.toMatchObject({
      status: 400,
      error: { type: 'exceed_context_size_error', n_prompt_tokens: 41, n_ctx: 40 },
    });
    const models = await (await fetch(`${server.url}/v1/models`)).json();
    expect(models).toMatchObject({ data: [{ max_model_len: 40 }] });
  });

  it('reads texts whose pairs of tokens fit into its memory', async () => {
    const pairs = 44 * 2;
    await using small = await open(join(folder, 't5'), {
      kind: 'encoder-decoder',
      threads: 1,
      memory: pairs * 64 ** 2,
    });
    expect((await small.engine()).encoder?.longest).toBe(64);
    const read = (length: number) => small.generate('A'.repeat(length), { maxTokens: 1 }).text();
    await read(63);
    await expect(read(64)).rejects.toThrow(
      'a text of 65 tokens is longer than the 64 that the encoder reads; cut it, or allow more memory',
    );
    const { client } = await serve(small);
    await expect(client.completions.create({ model: small.name, prompt: 'x'.repeat(64) })).rejects.toMatchObject({
      error: { type: 'exceed_context_size_error', n_ctx: 64 },
    });
  });

  it('reads nothing in memory for less than a token', async () => {
    await using none = await open(join(folder, 't5'), { kind: 'encoder-decoder', threads: 1, memory: 1 });
    await expect(none.generate('A', { maxTokens: 1 }).text()).rejects.toThrow(
      'a text of 2 tokens is longer than the 0 that the encoder reads; cut it, or allow more memory',
    );
  });

  it('refuses what is for models that continue a text', async () => {
    const { client, server } = await serve(model);
    const chat = client.chat.completions.create({ model: 't5', messages: [{ role: 'user', content: 'x' }] });
    await expect(chat).rejects.toMatchObject({ status: 501 });
    await expect(client.embeddings.create({ model: 't5', input: 'x' })).rejects.toMatchObject({ status: 501 });
    await expect(client.completions.create({ model: 't5', prompt: 'x', echo: true })).rejects.toMatchObject({
      param: 'echo',
    });
    for (const path of ['/v1/sessions', '/v1/responses', '/slots', '/completion']) {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
      expect((await fetch(server.url + path, init)).status).toBe(501);
    }
    expect((await fetch(`${server.url}/v1/models`)).status).toBe(200);
  });
});
