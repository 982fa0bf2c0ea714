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
