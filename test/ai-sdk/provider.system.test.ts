/** The AI SDK, unmodified: with the provider in process, and as a client of the server. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import type { LanguageModelV3, LanguageModelV3CallOptions } from '@ai-sdk/provider';
import Ajv from 'ajv';
import { type JSONSchema7, embed, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { describe, expect, it, onTestFinished } from 'vitest';
import { linnet } from '../../src/ai-sdk/index.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { chatTemplate, openTiny, serve, tinyLlamaFolder } from '../serving/served.ts';

const place: JSONSchema7 = {
  type: 'object',
  properties: {
    city: { type: 'string', enum: ['Paris', 'Nantucket'] },
    days: { type: 'integer', minimum: 1, maximum: 9 },
  },
  required: ['city', 'days'],
  additionalProperties: false,
};
const validate = new Ajv().compile(place);

interface Place {
  readonly city: string;
  readonly days: number;
}

function inProcess(options: Parameters<typeof linnet>[1] = {}) {
  const model = linnet(tinyLlamaFolder, { chatTemplate, threads: 1, toolFormat: 'llama3', ...options });
  onTestFinished(() => model.dispose());
  return model;
}

function said(text: string): Pick<LanguageModelV3CallOptions, 'prompt'> {
  return { prompt: [{ role: 'user', content: [{ type: 'text', text }] }] };
}

async function overHttp(kind: 'compatible' | 'responses'): Promise<LanguageModelV3> {
  const model = await openTiny(chatTemplate);
  onTestFinished(() => model[Symbol.asyncDispose]());
  const { server } = await serve(model, { toolFormat: 'llama3' });
  const baseURL = `${server.url}/v1`;
  if (kind === 'responses') return createOpenAI({ baseURL, apiKey: 'none' }).responses('tiny');
  return createOpenAICompatible({ name: 'tiny', baseURL, supportsStructuredOutputs: true }).chatModel('tiny');
}

const doors = [
  ['linnet/ai-sdk', () => Promise.resolve(inProcess())],
  ['@ai-sdk/openai-compatible', () => overHttp('compatible')],
  ['@ai-sdk/openai', () => overHttp('responses')],
] as const;

describe.each(doors)('the AI SDK by %s', (_, open) => {
  it('writes and streams the same text', async () => {
    const model = await open();
    const request = { model, prompt: 'Call me', maxOutputTokens: 12, temperature: 0 };
    const { text, usage } = await generateText(request);
    expect(text.length).toBeGreaterThan(0);
    expect(usage.outputTokens).toBeLessThanOrEqual(12);
    let streamed = '';
    for await (const piece of streamText(request).textStream) streamed += piece;
    expect(streamed).toBe(text);
  });

  it('loops over tools: three steps, each call with valid arguments, whose results go back', async () => {
    const model = await open();
    const asked: Place[] = [];
    const weather = tool({
      description: 'The weather of some days',
      inputSchema: jsonSchema<Place>(place),
      execute: (input) => {
        expect(validate(input)).toBe(true);
        asked.push(input);
        return { sky: 'blue' };
      },
    });
    const { steps } = await generateText({
      model,
      ...{ prompt: 'What is the weather in Paris?', tools: { weather }, toolChoice: 'required', temperature: 1 },
      ...{ maxOutputTokens: 900, stopWhen: stepCountIs(3) },
    });
    expect(steps).toHaveLength(3);
    expect(asked.length).toBeGreaterThanOrEqual(3);
    for (const { finishReason, toolResults } of steps) {
      expect(finishReason).toBe('tool-calls');
      expect(toolResults[0].output).toEqual({ sky: 'blue' });
    }
  }, 120_000);

  it('goes on from its answers', async () => {
    const model = await open();
    const settings = { model, maxOutputTokens: 12, temperature: 0 };
    const asked = { role: 'user' as const, content: 'Call me' };
    const then = { role: 'user' as const, content: 'And then?' };
    const first = await generateText({ ...settings, messages: [asked] });
    const answered = { role: 'assistant' as const, content: first.text };
    const next = await generateText({ ...settings, messages: [asked, ...first.response.messages, then] });
    expect(next.text).toBe((await generateText({ ...settings, messages: [asked, answered, then] })).text);
  });

  it('gives objects of a schema', async () => {
    const model = await open();
    const schema = jsonSchema<Place>(place);
    const { output } = await generateText({
      model,
      prompt: 'Where?',
      output: Output.object({ schema }),
      temperature: 0,
    });
    expect(validate(output)).toBe(true);
  });
});

describe('linnet/ai-sdk', () => {
  it('streams calls, with drafts as without', async () => {
    const weather = tool({ inputSchema: jsonSchema<Place>(place) });
    const inputs: unknown[] = [];
    for (const speculate of ['off', 'lookup']) {
      const result = streamText({
        model: inProcess(),
        ...{
          prompt: 'Weather?',
          tools: { weather },
          toolChoice: { type: 'tool', toolName: 'weather' },
          temperature: 0,
        },
        providerOptions: { linnet: { speculate } },
      });
      const calls = await result.toolCalls;
      expect(calls).toHaveLength(1);
      expect(validate(calls[0].input)).toBe(true);
      inputs.push(calls[0].input);
    }
    expect(inputs[1]).toEqual(inputs[0]);
  });

  it('reads only what is new in the turns of a conversation', async () => {
    const model = inProcess();
    const first = await generateText({ model, prompt: 'Call me '.repeat(60), maxOutputTokens: 8 });
    const messages = [
      { role: 'user' as const, content: 'Call me '.repeat(60) },
      { role: 'assistant' as const, content: first.text },
      { role: 'user' as const, content: 'And then?' },
    ];
    const second = await generateText({ model, messages, maxOutputTokens: 8 });
    const { inputTokens = 0, inputTokenDetails } = second.usage;
    expect(inputTokenDetails.cacheReadTokens ?? 0).toBeGreaterThan(inputTokens / 2);
  });

  it('stops by a signal, with its reason, and refuses files and models without a template', async () => {
    const model = inProcess();
    const stop = new AbortController();
    const stopped = generateText({ model, prompt: 'x', maxOutputTokens: 400, abortSignal: stop.signal, maxRetries: 0 });
    setTimeout(() => {
      stop.abort(new Error('enough'));
    }, 30);
    await expect(stopped).rejects.toThrow(/enough|aborted/i);
    const file = { type: 'file' as const, data: new Uint8Array(3), mediaType: 'image/png' };
    const sent = generateText({ model, messages: [{ role: 'user', content: [file] }], maxRetries: 0 });
    await expect(sent).rejects.toThrow(/reads no files/);
    const plain = inProcess({ chatTemplate: undefined });
    await expect(generateText({ model: plain, prompt: 'x', maxRetries: 0 })).rejects.toThrow(
      /no chat template.*\(the setting chatTemplate\)/,
    );
  });

  it('cancels the stream of a text that waits for its turn, without waiting', async () => {
    const model = inProcess({ parallel: 1 });
    const readers = [];
    for (let text = 0; text < 20; text++) readers.push((await model.doStream(said('Call me'))).stream.getReader());
    // The two parts before the text: its job is given to the runner then.
    for (const reader of [...readers, ...readers]) await reader.read();
    let ended = 0;
    const texts = readers.map(async (reader) => {
      while (!(await reader.read()).done);
      ended++;
    });
    await readers[19].cancel('changed my mind');
    await texts[19];
    expect(ended).toBeLessThan(19);
    await Promise.all(readers.map((reader) => reader.cancel()));
  });

  it('refuses a choice without its tool, and prompts that leave no place for an answer', async () => {
    const tools = [{ type: 'function' as const, name: 'weather', inputSchema: place }];
    const model = inProcess();
    const other = model.doGenerate({ ...said('x'), tools, toolChoice: { type: 'tool', toolName: 'clock' } });
    await expect(other).rejects.toThrow(/asks for the tool "clock", but the tools given are: weather/);
    await expect(model.doGenerate({ ...said('x'), toolChoice: { type: 'required' } })).rejects.toThrow(
      /given are: none/,
    );
    const folder = join(await scratchFolder(), 'short');
    await saveTinyModel(folder, 1, 'gpt2');
    const short = linnet(folder, { chatTemplate: '{{ messages[0].content }}', threads: 1 });
    onTestFinished(() => short[Symbol.asyncDispose]());
    for (const length of [64, 80]) {
      const sent = short.doGenerate(said('x'.repeat(length)));
      await expect(sent).rejects.toThrow(`the prompt has ${length} tokens; the model has 64 positions`);
    }
    expect((await short.doGenerate(said('x'.repeat(63)))).usage.outputTokens.total).toBeLessThanOrEqual(1);
  });

  it('gives no call that a stop string cuts short', async () => {
    const tools = [{ type: 'function' as const, name: 'weather', inputSchema: place }];
    const request = { ...said('x'), tools, toolChoice: { type: 'required' as const }, stopSequences: ['"days'] };
    const { content, finishReason } = await inProcess().doGenerate(request);
    expect([content, finishReason.unified]).toEqual([[], 'stop']);
  });

  it('ends answers by the token that ends turns, also where it may call', async () => {
    const folder = join(await scratchFolder(), 'model');
    await saveTinyModel(folder, 1);
    const path = join(folder, 'config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...config, eos_token_id: 97 }));
    const model = linnet(folder, { chatTemplate: '{{ messages[0].content }}', threads: 1, toolFormat: 'hermes' });
    onTestFinished(() => model[Symbol.asyncDispose]());
    const tools = [{ type: 'function' as const, name: 'weather', inputSchema: place }];
    const ends = new Set<unknown>();
    for (let seed = 0; seed < 12; seed++) {
      const answer = await model.doGenerate({ ...said('x'), tools, temperature: 50, maxOutputTokens: 2000, seed });
      ends.add(answer.finishReason.raw);
    }
    expect(ends).toEqual(new Set(['eos', 'stop']));
  });

  it('opens again after a disposal, also one while it was opened, and is disposed of where it cannot be opened', async () => {
    const model = inProcess();
    await Promise.allSettled([model.doGenerate({ ...said('x'), maxOutputTokens: 1 }), model[Symbol.asyncDispose]()]);
    const { usage } = await model.doGenerate({ ...said('x'), maxOutputTokens: 1 });
    expect(usage.outputTokens.total).toBeLessThanOrEqual(1);
    const none = linnet(join(await scratchFolder(), 'none'));
    const [opened, disposed] = await Promise.allSettled([none.doGenerate(said('x')), none[Symbol.asyncDispose]()]);
    expect(opened.status).toBe('rejected');
    expect(disposed.status).toBe('fulfilled');
  });

  it('embeds texts', async () => {
    const model = linnet.embedding(tinyLlamaFolder, { threads: 1 });
    onTestFinished(() => model[Symbol.asyncDispose]());
    const { embedding, usage } = await embed({ model, value: 'Call me Ishmael.' });
    expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    expect(usage.tokens).toBeGreaterThan(2);
  });
});

it('a format of calls that there is not is refused at each call, and the model closes', async () => {
  const model = inProcess({ toolFormat: 'nothing' });
  for (let call = 0; call < 2; call++)
    await expect(generateText({ model, prompt: 'a', maxRetries: 0 })).rejects.toMatchObject({ name: 'LinnetError' });
  await model.dispose();
});

it('first calls share one runner, which many may wait for', async () => {
  const model = inProcess({ parallel: 1 });
  const order: number[] = [];
  const write = async (call: number): Promise<void> => {
    for await (const _ of streamText({ model, prompt: 'Call me', maxOutputTokens: 3, maxRetries: 0 }).textStream)
      order.push(call);
  };
  await Promise.all(Array.from({ length: 80 }, (_, call) => write(call)));
  expect(new Set(order).size).toBe(80);
  expect(order).toEqual([...order].sort((a, b) => order.indexOf(a) - order.indexOf(b)));
});

it.each([{ parallel: 0 }, { parallel: 1.5 }, { cacheBytes: -1 }, { maxOutputTokens: 0 }])(
  'refuses limits: %o',
  (limits) => {
    expect(() => inProcess(limits)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  },
);
