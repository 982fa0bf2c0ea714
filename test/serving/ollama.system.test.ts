/** The endpoints of Ollama, as its own client sees them. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import Ajv from 'ajv';
import { Ollama, type Message, type Tool } from 'ollama';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { chatTemplate, openTiny, serve, type ServedOptions, tinyLlamaFolder } from './served.ts';

let model: LanguageModel;
let plain: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
  plain = await openTiny();
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await plain[Symbol.asyncDispose]();
});

async function clientOf(of: LanguageModel, options: ServedOptions = {}) {
  const { server, client: openAi } = await serve(of, options);
  return { url: server.url, ollama: new Ollama({ host: server.url }), openAi };
}

const greedy = { temperature: 0, repeat_penalty: 1, num_predict: 12 };
/** Nearly all tokens that the grammar allows are equally probable. */
const flat = { temperature: 100, top_k: 0, top_p: 1, num_predict: 300 };
const messages: Message[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Tell me of the sea.' },
];
const weather = {
  type: 'object',
  properties: { city: { enum: ['Paris', 'Nantucket'] }, days: { type: 'integer', minimum: 1, maximum: 14 } },
  required: ['city', 'days'],
  additionalProperties: false,
};
const tools = [{ type: 'function', function: { name: 'weather', parameters: weather } }] as unknown as Tool[];

describe('/api/generate and /api/chat', () => {
  it('write the texts of completions and chats, whole and streamed, and count their tokens and times', async () => {
    const { ollama, openAi } = await clientOf(model);
    const theirs = await openAi.chat.completions.create({
      model: 'tiny',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Tell me of the sea.' },
      ],
      temperature: 0,
      max_completion_tokens: 12,
    });
    const text = theirs.choices[0].message.content ?? '';
    expect(text).not.toBe('');
    const whole = await ollama.chat({ model: 'tiny', messages, options: greedy });
    expect(whole).toMatchObject({ model: 'tiny', message: { role: 'assistant', content: text }, done: true });
    expect(whole.done_reason).toBe('length');
    expect(whole.prompt_eval_count).toBe(theirs.usage?.prompt_tokens);
    expect(whole.eval_count).toBe(12);
    expect(Number.isInteger(whole.total_duration)).toBe(true);
    expect(whole.eval_duration).toBeGreaterThan(0);
    expect(whole.total_duration).toBeGreaterThanOrEqual(whole.eval_duration + whole.prompt_eval_duration);
    expect(new Date(whole.created_at).getTime()).toBeGreaterThan(Date.now() - 60_000);

    const streamed = { chat: '', generated: '', parts: 0 };
    for await (const part of await ollama.chat({ model: 'tiny:latest', messages, options: greedy, stream: true })) {
      streamed.chat += part.message.content;
      streamed.parts++;
      if (part.done) expect(part).toMatchObject({ eval_count: 12, model: 'tiny:latest', done_reason: 'length' });
      else expect(part.eval_count).toBeUndefined();
    }
    expect(streamed.chat).toBe(text);
    expect(streamed.parts).toBeGreaterThan(4);
    const request = { model: 'tiny', system: 'Be brief.', prompt: 'Tell me of the sea.', options: greedy };
    for await (const part of await ollama.generate({ ...request, stream: true }))
      streamed.generated += part.response ?? '';
    expect(streamed.generated).toBe(text);
    expect(await ollama.generate({ ...request, think: false, keep_alive: '1m' })).toMatchObject({ response: text });
  });

  it('take prompts as they are where they are raw or there is no template, and go on from a context', async () => {
    const { ollama, openAi } = await clientOf(plain);
    const prompt = 'Once upon a time';
    const theirs = await openAi.completions.create({ model: 'tiny', prompt, max_tokens: 12, temperature: 0 });
    for (const raw of [false, true]) {
      const answer = await ollama.generate({ model: 'tiny', prompt, raw, options: greedy });
      expect(answer.response).toBe(theirs.choices[0].text);
      expect(answer.context === undefined).toBe(raw);
    }
    const first = await ollama.generate({ model: 'tiny', prompt, options: greedy });
    expect(first.context).toHaveLength(first.prompt_eval_count + first.eval_count);
    const { context, ...second } = await ollama.generate({
      ...{ model: 'tiny', prompt: ' and', context: first.context },
      options: { ...greedy, num_predict: 4 },
    });
    expect(second.prompt_eval_count).toBeGreaterThan(first.context.length);
    expect(context.slice(0, first.context.length)).toEqual(first.context);
  });

  it('end at the EOS of the tokenizer, also where the configuration has another: chats, and prompts by the template', async () => {
    await using own = await openTiny(
      "{% for m in messages %}{{ m.role + ': ' + m.content + ' ' }}{% endfor %}assistant:",
    );
    const answersOf = async (eosId = own.tokenizer.eosId) => {
      Object.defineProperty(own.tokenizer, 'eosId', { value: eosId, configurable: true });
      const { ollama } = await clientOf(own);
      const asked = { model: 'tiny', options: greedy };
      const chat = await ollama.chat({ ...asked, messages });
      const turn = await ollama.generate({ ...asked, system: 'Be brief.', prompt: 'Tell me of the sea.' });
      const raw = await ollama.generate({ ...asked, raw: true, prompt: 'Tell me of the sea.' });
      // Held to JSON or a call, after which either EOS may come.
      for (let seed = 0; seed < 6; seed++) {
        const options = { ...flat, num_predict: 100, seed };
        const held = await ollama.chat({ ...asked, messages, tools, format: weather, options });
        expect(['stop', 'length']).toContain(held.done_reason);
      }
      return { context: turn.context, reasons: [chat, turn, raw].map((answer) => answer.done_reason) };
    };
    const { context, reasons } = await answersOf();
    expect(new Set(reasons)).toEqual(new Set(['length']));
    expect((await answersOf(context.at(-9))).reasons).toEqual(['stop', 'stop', 'length']);
  });

  it('sample by their options: seeds, stops, penalties', async () => {
    const { ollama } = await clientOf(model);
    const ask = async (options: object) =>
      (await ollama.chat({ model: 'tiny', messages, options: { num_predict: 20, ...options } })).message.content;
    expect(await ask({ seed: 4 })).toBe(await ask({ seed: 4 }));
    expect(await ask({ seed: 4 })).not.toBe(await ask({ seed: 5 }));
    const text = await ask(greedy);
    expect(await ask({ ...greedy, repeat_penalty: 3 })).not.toBe(text);
    const stop = text.slice(4, 7);
    expect(await ask({ ...greedy, stop: [stop] })).toBe(text.slice(0, text.indexOf(stop)));
    const answer = await ollama.chat({ model: 'tiny', messages, options: { ...greedy, stop: [stop] } });
    expect(answer.done_reason).toBe('stop');
    const scored = await ollama.chat({ model: 'tiny', messages, options: greedy, logprobs: true, top_logprobs: 2 });
    expect(scored.logprobs).toHaveLength(12);
    expect(scored.logprobs?.[0].top_logprobs).toHaveLength(2);
  });

  it('hold answers to JSON', async () => {
    const { ollama } = await clientOf(model);
    const options = { num_predict: 300, seed: 2 };
    const held = await ollama.chat({ model: 'tiny', messages, format: weather, options });
    expect(new Ajv().validate(weather, JSON.parse(held.message.content)), held.message.content).toBe(true);
    expect(held.done_reason).toBe('stop');
    let text = '';
    const request = { model: 'tiny', prompt: 'JSON', format: weather, options };
    for await (const part of await ollama.generate({ ...request, stream: true })) text += part.response ?? '';
    expect(new Ajv().validate(weather, JSON.parse(text)), text).toBe(true);
    const some = await ollama.generate({ model: 'tiny', prompt: 'JSON', format: 'json', options: { num_predict: 30 } });
    expect(some.response).toMatch(/^\s*\{/);
  });

  it('call functions with arguments as objects, streamed and whole, and take results', async () => {
    const { ollama } = await clientOf(model, { toolFormat: 'llama3' });
    let calls = 0;
    for (let seed = 0; seed < 8; seed++) {
      const request = { model: 'tiny', messages, tools, format: weather, options: { ...flat, seed } };
      const whole = await ollama.chat(request);
      const streamed = { content: '', calls: [] as unknown[] };
      for await (const { message, done } of await ollama.chat({ ...request, stream: true })) {
        expect(done || message.content !== '' || message.tool_calls !== undefined).toBe(true);
        streamed.content += message.content;
        streamed.calls.push(...(message.tool_calls ?? []));
      }
      const made = whole.message.tool_calls ?? [];
      expect(streamed.content).toBe(whole.message.content);
      expect(streamed.calls).toHaveLength(made.length);
      for (const call of made) {
        expect(call.function.name).toBe('weather');
        expect(new Ajv().validate(weather, call.function.arguments)).toBe(true);
        expect(whole.message.content).toBe('');
      }
      calls += made.length;
      if (made.length === 0 || calls > 1) continue;
      const said = [...messages, whole.message, { role: 'tool', content: 'sunny', tool_name: 'weather' }];
      const after = await ollama.chat({ ...request, messages: said, tools: [], format: '' });
      expect(after.prompt_eval_count).toBeGreaterThan(whole.prompt_eval_count);
    }
    expect(calls).toBeGreaterThan(0);
  });

  it('load the model where there is nothing to answer', async () => {
    const { ollama } = await clientOf(model);
    const loaded = { done: true, done_reason: 'load' };
    expect(await ollama.generate({ model: 'tiny', prompt: '' })).toMatchObject({ ...loaded, response: '' });
    expect(await ollama.chat({ model: 'tiny' })).toMatchObject(loaded);
    const parts: unknown[] = [];
    for await (const part of await ollama.chat({ model: 'tiny', messages: [], stream: true })) parts.push(part);
    expect(parts).toEqual([expect.objectContaining(loaded)]);
  });

  it('stream unless told otherwise, as lines of JSON', async () => {
    const { url } = await clientOf(model);
    const body = JSON.stringify({ model: 'tiny', prompt: 'Once', options: greedy });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/api/generate`, { method: 'POST', headers, body });
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const lines = (await response.text()).trim().split('\n');
    expect(lines.length).toBeGreaterThan(2);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('response');
  });

  it.each([
    ['generate', { prompt: 'a', suffix: 'b' }, /"suffix" is not supported/],
    ['generate', { prompt: 'a', raw: true, system: 'b' }, /raw prompt/],
    ['generate', { prompt: 'a', context: [10 ** 6] }, /outside the vocabulary/],
    ['generate', { prompt: 'a', think: 'much' }, /"think"/],
    ['generate', { prompt: 'a', images: ['aGk='] }, /"images"/],
    ['chat', { messages: [{ role: 'user', content: 'a', images: ['aGk='] }] }, /images are not supported/],
    ['chat', { messages, format: { type: 'object', not: { type: 'null' } } }, /"not"/],
    ['chat', { messages, options: { mirostat: 2 } }, /"options.mirostat" is wrong: only 0/],
    ['chat', { messages, options: { temperature: 'hot' } }, /"options.temperature"/],
    ['chat', { messages, tools: [...tools, ...tools] }, /two functions/],
    ['embed', { input: 'a', dimensions: 3 }, /have 128 numbers/],
  ])('refuse %s with %j', async (path, fields, message) => {
    const { url } = await clientOf(model);
    const body = JSON.stringify({ model: 'tiny', ...fields });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/api/${path}`, { method: 'POST', headers, body });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: expect.stringMatching(message) as unknown });
  });
});

describe('names, vectors and facts', () => {
  it('list the model by all its names, with a tag', async () => {
    const { ollama } = await clientOf(model, { http: { aliases: ['gpt:1b'], limits: { promptTokens: 8 } } });
    const { models } = await ollama.list();
    expect(models.map(({ name }) => name)).toEqual(['tiny:latest', 'gpt:1b']);
    const { size } = await stat(join(tinyLlamaFolder, 'model.safetensors'));
    expect(models[0]).toMatchObject({ size, digest: model.fingerprint, details: { family: 'llama' } });
    expect((await ollama.ps()).models).toHaveLength(2);
    for (const name of ['tiny', 'tiny:latest', 'gpt:1b']) {
      const shown = await ollama.show({ model: name });
      expect(shown).toMatchObject({ template: chatTemplate, details: { family: 'llama' } });
      expect(shown.model_info).toHaveProperty(['llama.context_length'], model.trainedLength);
      expect(shown.capabilities).toEqual(['completion', 'tools', 'embedding']);
    }
    expect((await ollama.version()).version).toMatch(/^\d+\.\d+/);
    const missing = { status_code: 404, message: 'there is no model "other" here; this is "tiny"' };
    await expect(ollama.show({ model: 'other' })).rejects.toMatchObject(missing);
    await expect(ollama.chat({ model: 'other', messages, stream: true })).rejects.toMatchObject(missing);
    await expect(ollama.pull({ model: 'tiny' })).rejects.toMatchObject({ status_code: 501 });
  });

  it('answer to every name where that is asked for', async () => {
    const { ollama } = await clientOf(model, { http: { anyModel: true } });
    const answer = await ollama.chat({ model: 'llama3.2', messages, options: greedy });
    expect(answer.model).toBe('llama3.2');
  });

  it('embed texts as the other endpoint of embeddings', async () => {
    const { ollama, openAi } = await clientOf(model, { http: { limits: { promptTokens: 8 } } });
    const input = ['the sea', 'a whale'];
    const theirs = await openAi.embeddings.create({ model: 'tiny', input, encoding_format: 'float' });
    const ours = await ollama.embed({ model: 'tiny', input });
    expect(ours.embeddings).toEqual(theirs.data.map(({ embedding }) => embedding));
    expect(ours.prompt_eval_count).toBe(theirs.usage.prompt_tokens);
    const many = Array<string>(300).fill('sea');
    expect((await ollama.embed({ model: 'tiny', input: many })).embeddings.length).toBe(300);
    expect((await openAi.embeddings.create({ model: 'tiny', input: many })).data.length).toBe(300);
    const narrow = await clientOf(model, { http: { limits: { embeddingNumbers: 300 } } });
    await expect(narrow.ollama.embed({ model: 'tiny', input: ['a', 'b', 'c'] })).rejects.toThrow(
      /3 inputs are too many for vectors of 128 numbers; send up to 2/,
    );
    expect((await narrow.ollama.embed({ model: 'tiny', input: ['a', 'b'] })).embeddings.length).toBe(2);
    const older = await ollama.embeddings({ model: 'tiny', prompt: 'the sea' });
    expect(older.embedding).toEqual(ours.embeddings[0]);
    const long = 'the sea '.repeat(40);
    expect((await ollama.embed({ model: 'tiny', input: long })).prompt_eval_count).toBe(8);
    await expect(ollama.embed({ model: 'tiny', input: long, truncate: false })).rejects.toMatchObject({
      status_code: 400,
    });
  });
});
