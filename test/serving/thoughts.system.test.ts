/** Thoughts of a model through every door: apart from the answer, counted and bounded. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { linnet } from '../../src/ai-sdk/index.ts';
import { Conversation } from '../../src/engine/chat/conversation.ts';
import { CalledAnswer } from '../../src/engine/tools/call-reader.ts';
import { ToolCalls } from '../../src/engine/tools/tool-calls.ts';
import { runJson } from '../cli/captured-cli.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openTiny, serve } from './served.ts';

/** A template that begins the thoughts, unless they are turned off. */
const template =
  "{% for message in messages %}{{ message.role + ': ' }}{% if message.reasoning_content %}" +
  "{{ '<think>' + message.reasoning_content + '</think>' }}{% endif %}{{ message.content + eos_token }}{% endfor %}" +
  "{{ 'assistant:' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% else %}{{ '<think>' }}{% endif %}";

const folder = join(suiteFolder(), 'thinking');
const user = { role: 'user' as const, content: 'Why?' };
const budget = 6;
/** The closing mark is eight tokens of bytes. */
const closing = '</think>'.length;

/** Through a door that takes no budget, a schema makes the model say something after its thoughts. */
const schema = { type: 'object', properties: { a: { enum: [1] } }, required: ['a'], additionalProperties: false };

beforeAll(async () => {
  await saveTinyModel(folder, 3);
  writeFileSync(join(folder, 'chat_template.jinja'), template);
});

const openThinking = () => openTiny(undefined, { folder });

describe('thoughts', () => {
  it('end after exactly a number of tokens, and the answer follows a schema from there on', async () => {
    const model = await openThinking();
    const session = model.session();
    const options = { maxTokens: 60, thinkingBudget: budget, jsonSchema: schema, temperature: 1, seed: 4 };
    const pieces = session.continuePrompt({ messages: [user] }, options);
    const answer = await pieces.text();
    expect(JSON.parse(answer)).toEqual({ a: 1 });
    const { tokens, promptTokens, text, thoughts = '' } = pieces.generation;
    expect(text).toBe(answer);
    const close = [...model.tokenizer.encode('</think>')];
    expect(tokens.slice(budget, budget + closing)).toEqual(close);
    expect(thoughts.length).toBeGreaterThan(0);
    const prompt = session.tokens.slice(0, promptTokens);
    expect(model.thinking?.count(prompt, tokens)).toBe(budget + closing);
    const off = { messages: [user], variables: { enable_thinking: false } };
    const plain = await model
      .session()
      .continuePrompt(off, { ...options, thinkingBudget: 0 })
      .text();
    expect(JSON.parse(plain)).toEqual({ a: 1 });
  });

  it('are fields of their own in every dialect, and reach the template again', async () => {
    const model = await openThinking();
    const { client, server } = await serve(model);
    const asked = { model: 'tiny', messages: [user], max_completion_tokens: 40, seed: 1 };
    const whole: unknown = await client.chat.completions.create({ ...asked, temperature: 0 });
    const completion = z
      .object({
        choices: z.tuple([z.object({ message: z.object({ content: z.string(), reasoning_content: z.string() }) })]),
        usage: z.object({
          completion_tokens: z.number(),
          completion_tokens_details: z.object({ reasoning_tokens: z.number() }),
        }),
      })
      .parse(whole);
    const { usage, choices } = completion;
    expect(choices[0].message.content).toBe('');
    expect(usage.completion_tokens_details.reasoning_tokens).toBe(usage.completion_tokens);
    let streamed = '';
    for await (const chunk of await client.chat.completions.create({ ...asked, temperature: 0, stream: true })) {
      const delta: unknown = chunk.choices[0].delta;
      streamed += z.object({ reasoning_content: z.string().optional() }).parse(delta).reasoning_content ?? '';
    }
    expect(streamed).toBe(choices[0].message.reasoning_content);

    const quiet: unknown = await client.chat.completions.create({ ...asked, temperature: 0, reasoning_effort: 'none' });
    expect(quiet).toMatchObject({ usage: { completion_tokens_details: { reasoning_tokens: 0 } } });
    expect(quiet).not.toMatchObject({ choices: [{ message: { reasoning_content: expect.any(String) as unknown } }] });

    const told = [user, { role: 'assistant' as const, content: 'So.', reasoning_content: 'Hm' }, user];
    const applied = await fetch(`${server.url}/apply-template`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages: told }),
    });
    expect(await applied.text()).toContain('<think>Hm</think>So.');

    const response: unknown = await client.responses.create({
      model: 'tiny',
      input: 'Why?',
      temperature: 0,
      max_output_tokens: 40,
    });
    expect(response).toMatchObject({
      output: [{ type: 'reasoning', content: [{ type: 'reasoning_text' }] }, { type: 'message' }],
      usage: { output_tokens_details: { reasoning_tokens: 40 } },
    });
    const kinds: string[] = [];
    const stream = await client.responses.create({
      model: 'tiny',
      input: 'Why?',
      temperature: 0,
      max_output_tokens: 40,
      stream: true,
    });
    for await (const event of stream) kinds.push(event.type);
    for (const kind of ['response.reasoning_text.delta', 'response.reasoning_text.done']) expect(kinds).toContain(kind);

    const ollama = async (body: object): Promise<unknown> => {
      const options = { temperature: 0, num_predict: 40 };
      const answer = await fetch(`${server.url}/api/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'tiny', messages: [user], stream: false, options, ...body }),
      });
      return await answer.json();
    };
    expect(await ollama({ think: true })).toMatchObject({
      message: { content: '', thinking: expect.any(String) as unknown },
    });
    expect(await ollama({ think: false })).not.toMatchObject({ message: { thinking: expect.any(String) as unknown } });
  });

  it('come before a call that is forced', async () => {
    const model = await openThinking();
    const calls = new ToolCalls(model);
    const rules = { tools: [{ name: 'f', parameters: schema }], required: true, parallel: false };
    const held = calls.held(rules);
    const session = model.session();
    const options = { ...held, maxTokens: 120, thinkingBudget: budget, temperature: 1, seed: 5 };
    const { prompt } = session.job({ messages: [user] }, options);
    const answer = new CalledAnswer(calls.reader(rules), model.thinking?.reader(prompt.tokens));
    for await (const event of session.run({ messages: [user] }, options)) {
      if (event.type === 'tokens') answer.push(event.text);
    }
    answer.end();
    expect(answer.thoughts).not.toBe('');
    expect(answer.content).toBe('');
    expect(answer.calls.map(({ name, json }) => [name, JSON.parse(json) as unknown])).toEqual([['f', { a: 1 }]]);
  });

  it('are parts of an answer in the AI SDK, dimmed in a chat, and bounded by generate', async () => {
    const model = await openThinking();
    const sdk = linnet(folder, { threads: 1 });
    try {
      const { content, usage } = await sdk.doGenerate({
        prompt: [{ role: 'user', content: [{ type: 'text', text: 'Why?' }] }],
        maxOutputTokens: 30,
        temperature: 0,
      });
      expect(content[0].type).toBe('reasoning');
      expect(usage.outputTokens.reasoning).toBe(30);
    } finally {
      await sdk[Symbol.asyncDispose]();
    }
    const chat = { temperature: 0, thinkingBudget: budget, jsonSchema: schema, maxTokens: 60 };
    const pieces = model.chat([user], chat);
    const parts = { thought: '', text: '' };
    for await (const { type, text } of pieces.parts()) parts[type] += text;
    expect(pieces.generation).toMatchObject({ thoughts: parts.thought, text: parts.text });
    expect(parts.thought).not.toBe('');
    expect(JSON.parse(await model.chat([user], chat).text())).toEqual(JSON.parse(parts.text));
    const conversation = new Conversation(model, { maxTokens: 20, sampling: { temperature: 0 } });
    const kinds = new Set<string>();
    for await (const part of conversation.say('Why?', new AbortController().signal)) kinds.add(part.type);
    expect([...kinds]).toEqual(['thought']);
    const words = ['--chat', '--prompt', 'Why?', '--thinking', String(budget), '--max-tokens', '20', '--threads', '1'];
    const { tokens, text, thoughts } = await runJson('generate', folder, ...words, '--temperature', '0');
    expect(thoughts).toBe(pieces.generation.thoughts);
    expect(text).not.toContain('</think>');
    expect(
      z
        .array(z.number())
        .parse(tokens)
        .slice(budget, budget + closing),
    ).toEqual([...model.tokenizer.encode('</think>')]);
    expect(await runJson('inspect', folder)).toMatchObject({ template, toolFormat: 'plain-json', thinking: 'think' });
  });
});

it('answers may be sent back that ended among their thoughts, or with calls without arguments', async () => {
  const source =
    '{% for m in messages %}[{{ m.reasoning_content }}|{{ m.content }}' +
    '{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments | items %}{{ k }}{% endfor %}.{% endfor %}]{% endfor %}';
  await using shown = await openTiny(source);
  const { server } = await serve(shown, { toolFormat: 'hermes' });
  const call = { id: 'a', type: 'function', function: { name: 'clock', arguments: '' } };
  const body = {
    messages: [
      { role: 'assistant', content: null, reasoning_content: 'a' },
      { role: 'assistant', content: null, tool_calls: [call] },
    ],
  };
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}/apply-template`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(await response.json()).toEqual({ prompt: '[a|][|.]' });
});
