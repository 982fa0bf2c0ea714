/** /v1/responses and /v1/embeddings as the OpenAI client sees them, and what the API says of itself. */
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

const asked = {
  model: 'tiny',
  input: 'Tell a story.',
  instructions: 'Be brief.',
  temperature: 0,
  max_output_tokens: 12,
};

describe('responses', () => {
  it('answer, and stream the same answer in named events', async () => {
    const { client } = await serve(model);
    const whole = await client.responses.create(asked);
    expect(whole).toMatchObject({ object: 'response', status: 'incomplete', usage: { output_tokens: 12 } });
    expect(whole.id).toMatch(/^resp_/);
    expect(whole.output[0]).toMatchObject({ type: 'message' });
    expect(whole.output[0].id).toMatch(/^msg_/);
    expect(whole.output_text.length).toBeGreaterThan(0);
    const stream = await client.responses.create({ ...asked, stream: true });
    const types: string[] = [];
    const sequence: number[] = [];
    let text = '';
    for await (const event of stream) {
      types.push(event.type);
      sequence.push(event.sequence_number);
      if (event.type === 'response.output_text.delta') text += event.delta;
      if (event.type === 'response.output_text.done') expect(event.text).toBe(text);
      if (event.type === 'response.incomplete') expect(event.response.output[0]).toMatchObject({ content: [{ text }] });
    }
    expect(text).toBe(whole.output_text);
    expect(sequence).toEqual(sequence.map((_, index) => index));
    expect([...new Set(types)]).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.incomplete',
    ]);
  });

  it('go on from an earlier one, whose state need not be read again, and tell instructions anew', async () => {
    const { client } = await serve(model);
    const first = await client.responses.create(asked);
    const second = await client.responses.create({ ...asked, input: 'And then?', previous_response_id: first.id });
    const messages = [
      { role: 'system' as const, content: 'Be brief.' },
      { role: 'user' as const, content: 'Tell a story.' },
      { role: 'assistant' as const, content: first.output_text },
      { role: 'user' as const, content: 'And then?' },
    ];
    const chat = await client.chat.completions.create({
      model: 'tiny',
      messages,
      temperature: 0,
      max_completion_tokens: 12,
    });
    expect(second.output_text).toBe(chat.choices[0].message.content);
    expect(second.usage?.input_tokens_details.cached_tokens).toBeGreaterThanOrEqual(
      (first.usage?.input_tokens ?? 0) - 1,
    );
    expect(await client.responses.retrieve(first.id)).toMatchObject({ id: first.id, output: first.output });
    await client.responses.delete(first.id);
    await expect(client.responses.retrieve(first.id)).rejects.toMatchObject({ status: 404 });
    await expect(client.responses.create({ ...asked, previous_response_id: first.id })).rejects.toMatchObject({
      status: 404,
    });
    const forgotten = await client.responses.create({ ...asked, store: false });
    await expect(client.responses.retrieve(forgotten.id)).rejects.toMatchObject({ status: 404 });
  });

  it('go on from items of earlier ones, given by reference', async () => {
    const { client } = await serve(model);
    const first = await client.responses.create({ ...asked, instructions: undefined });
    const [said] = first.output;
    const told = { role: 'user' as const, content: 'Tell a story.' };
    const next = { role: 'user' as const, content: 'And then?' };
    const ask = (...input: OpenAI.Responses.ResponseInputItem[]) => client.responses.create({ ...asked, input });
    const referred = await ask(told, { type: 'item_reference', id: said.id ?? '' }, next);
    const repeated = await ask(told, { role: 'assistant', content: first.output_text }, next);
    expect(referred.output_text).toBe(repeated.output_text);
    expect(referred.usage?.input_tokens).toBe(repeated.usage?.input_tokens);
    for (const id of ['msg_1', `${said.id}9`, `msg_${'0'.repeat(32)}_0`])
      await expect(ask(told, { type: 'item_reference', id })).rejects.toMatchObject({ status: 404, param: 'input' });
  });

  it('belong to the key that asked', async () => {
    const { client, server } = await serve(model, { http: { keys: ['one', 'two'] } });
    const { id } = await client.responses.create(asked);
    const other = await fetch(`${server.url}/v1/responses/${id}`, { headers: { 'x-api-key': 'two' } });
    expect(other.status).toBe(404);
  });

  it('are JSON where a schema says so', async () => {
    const { client } = await serve(model);
    const schema = { type: 'object', properties: { a: { enum: [1, 2] } }, required: ['a'] };
    const text = { format: { type: 'json_schema' as const, name: 'a', schema } };
    const answer = await client.responses.create({ ...asked, max_output_tokens: 60, text });
    expect([1, 2]).toContain(z.object({ a: z.number() }).parse(JSON.parse(answer.output_text)).a);
    expect(answer.status).toBe('completed');
  });

  it('list items in the order in which they were streamed, thoughts amid text too', async () => {
    await using thinking = await openTiny(`${chatTemplate}{% if false %}[THINK][/THINK]{% endif %}`);
    const { client } = await serve(thinking);
    const schema = { const: 'one[THINK]two[/THINK]three' };
    const text = { format: { type: 'json_schema' as const, name: 'a', schema } };
    const fields = { ...asked, max_output_tokens: 60, text };
    const told: OpenAI.Responses.ResponseOutputItem[] = [];
    let last: OpenAI.Responses.Response | undefined;
    for await (const event of await client.responses.create({ ...fields, stream: true })) {
      if (event.type === 'response.output_item.done') expect(told.push(event.item)).toBe(event.output_index + 1);
      if (event.type === 'response.completed') last = event.response;
    }
    expect(told).toMatchObject([
      { type: 'message', content: [{ text: '"one' }] },
      { type: 'reasoning', content: [{ text: 'two' }] },
      { type: 'message', content: [{ text: 'three"' }] },
    ]);
    expect(new Set(told.map(({ id }) => id)).size).toBe(3);
    expect(last?.output).toEqual(told);
    expect(await client.responses.retrieve(last?.id ?? '')).toMatchObject({ output: told });
    const types = (await client.responses.create(fields)).output.map(({ type }) => type);
    expect(types).toEqual(['message', 'reasoning', 'message']);
  });

  it.each([
    [{ input: [] }, 'input'],
    [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'data:,' }] }] }, 'input'],
    [{ tools: [{ type: 'web_search' }] }, 'tools.0.type'],
    [{ background: true }, 'background'],
    [{ include: ['reasoning.encrypted_content', 'message.output_text.logprobs'] }, 'include'],
    [{ text: { format: { type: 'json_schema', schema: { type: 'hiccup' } } } }, 'json_schema'],
  ])('%j is refused', async (fields, param) => {
    const { server } = await serve(model);
    const body = JSON.stringify({ ...asked, ...fields });
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
    const answer = await fetch(`${server.url}/v1/responses`, init);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { param } });
  });
});

describe('embeddings', () => {
  it('have length 1, depend on the text alone, and come as numbers or bytes', async () => {
    const { client } = await serve(model);
    const input = ['I believe', 'the meaning of life', 'I believe'];
    const { data, usage } = await client.embeddings.create({ model: 'tiny', input, encoding_format: 'float' });
    expect(data.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const { embedding } of data) {
      expect(embedding).toHaveLength(model.decoder.sizes.width);
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    }
    expect(data[0].embedding).toEqual(data[2].embedding);
    expect(data[0].embedding).not.toEqual(data[1].embedding);
    expect(usage.prompt_tokens).toBeGreaterThan(4);
    // Without a format the client asks for base64 and decodes it.
    const { data: decoded } = await client.embeddings.create({ model: 'tiny', input: 'I believe' });
    expect([...decoded[0].embedding]).toEqual(data[0].embedding);
    const ids = [...model.tokenizer.encode('I believe', { bos: true })];
    const { data: byIds } = await client.embeddings.create({ model: 'tiny', input: ids, encoding_format: 'float' });
    expect(byIds[0].embedding).toEqual(data[0].embedding);
  });

  it('of nothing, of strange tokens, or shortened are refused', async () => {
    const { client } = await serve(model);
    const refused = [{ input: '', ok: true }, { input: [] }, { input: [5000] }, { input: 'x', dimensions: 3 }];
    for (const { input, ...fields } of refused) {
      if (input === '' && model.tokenizer.bosId !== undefined) continue;
      await expect(client.embeddings.create({ model: 'tiny', input, ...fields })).rejects.toMatchObject({
        status: 400,
      });
    }
  });
});

describe('what the API says of itself', () => {
  it('is an OpenAPI document of every endpoint, by the schemas that check', async () => {
    const { server } = await serve(model);
    const document = z
      .object({ openapi: z.string(), paths: z.record(z.string(), z.record(z.string(), z.looseObject({}))) })
      .parse(await (await fetch(`${server.url}/openapi.json`)).json());
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(['/v1/chat/completions', '/v1/completions', '/v1/sessions/{id}/state']),
    );
    const text = JSON.stringify(document.paths['/v1/completions'].post);
    expect(text).toContain('"temperature":{"anyOf":[{"type":"number","minimum":0,"maximum":100}');
  });

  it('is a page without scripts for people', async () => {
    const { server } = await serve(model);
    const answer = await fetch(`${server.url}/docs`);
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
    const html = await answer.text();
    expect(html).toContain('POST /v1/chat/completions');
    expect(html).toContain('response_format');
    expect(html).not.toMatch(/<script|https?:\/\//);
  });
});
