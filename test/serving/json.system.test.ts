/** Answers that are JSON of a schema. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

const shape = z.strictObject({
  kind: z.enum(['whale', 'ship']),
  name: z.string().max(8),
  size: z.int().min(1).max(500),
  tags: z.array(z.boolean()).max(2),
});
const schema = z.toJSONSchema(shape);
const format = { type: 'json_schema' as const, json_schema: { name: 'thing', schema, strict: true } };
/** The same random numbers each time. */
const seeded = (seed: number) => ({ temperature: 1, seed });
const messages = [{ role: 'user' as const, content: 'Tell of a whale.' }];

describe('response_format', () => {
  it('makes answers JSON of the schema, greedy and sampled, for every choice, streamed too', async () => {
    const { client } = await serve(model);
    const request = { model: 'tiny', messages, response_format: format, max_completion_tokens: 200 };
    const greedy = await client.chat.completions.create({ ...request, temperature: 0 });
    const sampled = await client.chat.completions.create({ ...request, ...seeded(3), n: 4 });
    for (const { message, finish_reason: finish } of [...greedy.choices, ...sampled.choices]) {
      expect(finish).toBe('stop');
      expect(shape.parse(JSON.parse(message.content ?? ''))).toBeDefined();
    }
    expect(new Set(sampled.choices.map(({ message }) => message.content)).size).toBeGreaterThan(1);
    const stream = await client.chat.completions.create({ ...request, temperature: 0, stream: true });
    let text = '';
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
    expect(text).toBe(greedy.choices[0].message.content);
  });

  it('gives the same text with speculation, and with log-probabilities', async () => {
    const { client } = await serve(model);
    const { client: guessing } = await serve(model, { runner: { drafter: 'lookup' } });
    const request = { model: 'tiny', messages, response_format: format, max_completion_tokens: 200, temperature: 0 };
    const answers = await Promise.all([
      client.chat.completions.create(request),
      guessing.chat.completions.create(request),
      client.chat.completions.create({ ...request, logprobs: true }),
    ]);
    expect(new Set(answers.map(({ choices }) => choices[0].message.content)).size).toBe(1);
  });

  it('of any object gives an object, or its beginning', async () => {
    const { client } = await serve(model);
    const answer = await client.chat.completions.create({
      model: 'tiny',
      messages,
      response_format: { type: 'json_object' },
      max_completion_tokens: 60,
      ...seeded(5),
    });
    expect(answer.choices[0].message.content?.trimStart()).toMatch(/^\{/);
  });

  // The cases of llama.cpp's test_chat_completion.
  const good: readonly (readonly [object, RegExp])[] = [
    [{ type: 'json_object', schema: { const: '42' } }, /^\s*"42"$/],
    [{ type: 'json_object', schema: { items: [{ type: 'integer' }] } }, /^\s*\[\s*-?\d+\s*\]$/],
    [{ type: 'json_schema', json_schema: { schema: { const: 'foooooo' } } }, /^\s*"foooooo"$/],
    [{ type: 'text' }, /./],
  ];
  it.each(good)('%j', async (response_format, expected) => {
    const { server } = await serve(model);
    const answer = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages, response_format, max_tokens: 40, temperature: 0 }),
    });
    const parsed = z
      .object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })) })
      .parse(await answer.json());
    expect(parsed.choices[0].message.content).toMatch(expected);
  });

  const bad: readonly object[] = [
    { type: 'json_object', schema: { type: 123 } },
    { type: 'json_object', schema: { type: 'hiccup' } },
    { type: 'json_schema', json_schema: { schema: { type: 'other' } } },
    { type: 'json_schema', json_schema: {} },
    { type: 'json_schema', json_schema: { schema: { $ref: 'https://example.org/x' } } },
    { type: 'sound' },
    { type: '' },
    {},
  ];
  it.each(bad)('%j is refused', async (response_format) => {
    const { server } = await serve(model);
    const answer = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages, response_format, max_tokens: 8 }),
    });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error', code: 400 } });
  });
});
