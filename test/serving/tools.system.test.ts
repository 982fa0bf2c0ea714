/** Calls of functions as clients of the OpenAI API see them. */
import Ajv from 'ajv';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { toolFormats } from '../../src/engine/tools/tool-formats.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny(chatTemplate);
});
afterAll(() => model[Symbol.asyncDispose]());

const place = {
  type: 'object',
  properties: {
    city: { enum: ['Paris', 'Nantucket'] },
    days: { type: 'integer', minimum: 1, maximum: 14 },
    units: { type: 'array', items: { enum: ['C', 'F'] }, minItems: 1, maxItems: 2 },
    exact: { type: 'boolean' },
    note: { type: 'string', maxLength: 6 },
  },
  required: ['city', 'days', 'note'],
  additionalProperties: false,
};
const weather = {
  type: 'function',
  function: { name: 'weather', description: 'Of some days', parameters: place },
} as const;
const clock = { type: 'function', function: { name: 'clock' } } as const;
const tools = [weather, clock];
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'What is the weather in Paris?' }];
const asked = { model: 'tiny', messages, tools, max_completion_tokens: 900 };
const validators = {
  weather: new Ajv().compile(place),
  clock: new Ajv().compile({ type: 'object', maxProperties: 0 }),
};

function isFunction(name: string): name is keyof typeof validators {
  return Object.hasOwn(validators, name);
}

/** Checks calls by a validator of its own. @returns their number */
function checkCalls(calls: readonly OpenAI.ChatCompletionMessageToolCall[] | undefined): number {
  for (const call of calls ?? []) {
    expect(call.id).toMatch(/^\w{9}$/);
    if (call.type !== 'function' || !isFunction(call.function.name)) throw new Error('a call of no function');
    const validate = validators[call.function.name];
    expect(validate(JSON.parse(call.function.arguments)), call.function.arguments).toBe(true);
  }
  return calls?.length ?? 0;
}

it('/apply-template shows functions and variables as a chat has them', async () => {
  const source =
    '{{ tools | length }} {{ style }} {% for m in messages %}{{ m.reasoning_content }}{{ m.content }}{% endfor %}';
  await using shown = await openTiny(source);
  const { server } = await serve(shown, { toolFormat: 'hermes' });
  const body = {
    messages: [{ role: 'assistant', content: 'b', reasoning_content: 'a' }],
    ...{ tools, chat_template_kwargs: { style: 'plain' } },
  };
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}/apply-template`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(await response.json()).toEqual({ prompt: '2 plain ab' });
});

describe('chats that call functions', () => {
  it('make 200 of 200 valid calls where they must, in every format, also when they are drafted', async () => {
    const answers = { count: 0 };
    for (const [place, { name }] of toolFormats.entries()) {
      const { client } = await serve(model, {
        runner: { drafter: place % 2 === 0 ? 'lookup' : 'off' },
        toolFormat: name,
      });
      for (let seed = 0; seed < 4; seed++) {
        const answer = await client.chat.completions.create({
          ...Object.assign({ seed: 8 * seed }, asked),
          n: 8,
          tool_choice: 'required',
          parallel_tool_calls: false,
        });
        for (const { message, finish_reason: finish } of answer.choices) {
          expect(finish).toBe('tool_calls');
          expect(message.content).toBe(null);
          expect(checkCalls(message.tool_calls)).toBe(1);
          answers.count++;
        }
      }
    }
    expect(answers.count).toBeGreaterThanOrEqual(200);
  }, 240_000);

  it.each(['hermes', 'lfm2', 'llama3'])('stream the same calls as deltas: %s', async (toolFormat) => {
    const { client } = await serve(model, { toolFormat });
    const request = {
      ...asked,
      temperature: 1,
      seed: 5,
      tool_choice: { type: 'function', function: { name: 'weather' } },
      logprobs: true,
    } as const;
    const whole = await client.chat.completions.create(request);
    const [{ message, logprobs }] = whole.choices;
    const [call] = message.tool_calls ?? [];
    const stream = await client.chat.completions.create({ ...request, stream: true });
    const read = { name: '', json: '', ids: new Set<string>(), finish: '', content: '', scores: [] as unknown[] };
    for await (const { choices } of stream) {
      for (const { delta, finish_reason: finish, logprobs: scores } of choices) {
        read.scores.push(...(scores?.content ?? []));
        if (finish === null) expect(delta).not.toEqual({});
        read.content += delta.content ?? '';
        read.finish = finish ?? read.finish;
        for (const part of delta.tool_calls ?? []) {
          expect(part.index).toBe(0);
          read.name += part.function?.name ?? '';
          read.json += part.function?.arguments ?? '';
          if (part.id !== undefined) read.ids.add(part.id);
        }
      }
    }
    if (call.type !== 'function') throw new Error('no call of a function');
    expect(read).toMatchObject({
      name: call.function.name,
      json: call.function.arguments,
      finish: 'tool_calls',
      content: '',
      scores: logprobs?.content,
    });
    expect(read.ids.size).toBe(1);
  });

  it('are not finished calls where a stop string cuts them short', async () => {
    const { client } = await serve(model, { toolFormat: 'hermes' });
    const request = {
      ...asked,
      tool_choice: { type: 'function', function: { name: 'weather' } },
      stop: '"days',
    } as const;
    const whole = await client.chat.completions.create(request);
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'stop', message: { tool_calls: [{ type: 'function' }] } });
    let finish: string | null = null;
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      finish = choices[0]?.finish_reason ?? finish;
    }
    expect(finish).toBe('stop');
  });

  it('are free where they may call: the text is that of a chat with the same prompt', async () => {
    const { client } = await serve(model, { toolFormat: 'hermes' });
    const free = await client.chat.completions.create({ ...asked, temperature: 0, max_completion_tokens: 20 });
    expect(free.choices[0].message.content).not.toBe('');
    expect(free.choices[0].finish_reason).toBe('length');
    const none = await client.chat.completions.create({
      ...asked,
      temperature: 0,
      max_completion_tokens: 20,
      tool_choice: 'none',
    });
    expect(none.choices[0].message.tool_calls).toBeUndefined();
  });

  it('are of the allowed functions, which are told among all', async () => {
    const { client } = await serve(model, { toolFormat: 'hermes' });
    const allowed = (mode: 'auto' | 'required', ...names: string[]) => ({
      type: 'allowed_tools' as const,
      allowed_tools: { mode, tools: names.map((name) => ({ type: 'function', function: { name } })) },
    });
    const names = async (tool_choice: OpenAI.ChatCompletionToolChoiceOption) => {
      const { choices, usage } = await client.chat.completions.create({
        ...asked,
        ...Object.assign({ seed: 1 }, { n: 8, tool_choice, parallel_tool_calls: false }),
      });
      const calls = choices.flatMap(({ message }) => message.tool_calls ?? []);
      return { calls: calls.map((call) => call.type === 'function' && call.function.name), usage };
    };
    const all = await names('required');
    expect(new Set(all.calls).size).toBeGreaterThan(1);
    for (const name of ['weather', all.calls.find((called) => called !== 'weather') || '']) {
      const some = await names(allowed('required', name, name));
      expect(new Set(some.calls)).toEqual(new Set([name]));
      expect(some.usage?.prompt_tokens).toBe(all.usage?.prompt_tokens);
    }
    expect((await names(allowed('auto', 'weather'))).calls.filter((name) => name !== 'weather')).toEqual([]);
    await expect(names(allowed('auto', 'weather', 'g'))).rejects.toThrow(/no function "g"/);
    await expect(names(allowed('auto'))).rejects.toThrow(/tool_choice/);
  });

  it('end a loop of three steps, in which results go back', async () => {
    const { client } = await serve(model);
    const said: OpenAI.ChatCompletionMessageParam[] = [...messages];
    for (let step = 0; step < 3; step++) {
      const choice = step < 2 ? 'required' : 'none';
      const answer = await client.chat.completions.create({
        ...asked,
        messages: said,
        tool_choice: choice,
        max_completion_tokens: 600,
      });
      const { message } = answer.choices[0];
      said.push(message);
      for (const call of message.tool_calls ?? []) said.push({ role: 'tool', tool_call_id: call.id, content: 'sunny' });
    }
    expect(said.filter(({ role }) => role === 'tool').length).toBeGreaterThanOrEqual(2);
    expect(said.at(-1)?.role).toBe('assistant');
  });

  it('take a JSON schema for the answer without calls', async () => {
    const { client } = await serve(model, { toolFormat: 'hermes' });
    const schema = { type: 'object', properties: { sky: { enum: ['blue', 'grey'] } }, required: ['sky'] };
    const answer = await client.chat.completions.create({
      ...asked,
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'sky', schema } },
    });
    const { content, tool_calls: calls } = answer.choices[0].message;
    if (content !== null) expect(JSON.parse(content)).toHaveProperty('sky');
    else expect(checkCalls(calls)).toBeGreaterThan(0);
  });

  it.each([
    [{ tools: [weather, weather] }, 'tools', /two functions are called "weather"/],
    [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools.0.function.name', /letters/],
    [
      { tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'string' } } }] },
      'tools',
      /"f" have the type/,
    ],
    [
      {
        tools: [
          { type: 'function', function: { name: 'f', parameters: { properties: { a: { not: { type: 'null' } } } } } },
        ],
      },
      'tools',
      /"not"/,
    ],
    [{ tool_choice: { type: 'function', function: { name: 'g' } } }, 'tool_choice', /no function "g"/],
    [{ tools: [], tool_choice: 'required' }, 'tool_choice', /needs "tools"/],
    [{ ignore_eos: true }, 'ignore_eos', /EOS/],
    [{ min_tokens: 4 }, 'min_tokens', /complete/],
  ])('refuse %j with 400', async (fields, param, message) => {
    const { server } = await serve(model);
    const answer = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...asked, ...fields }),
    });
    expect(answer.status).toBe(400);
    const { error } = (await answer.json()) as { error: { param: string; message: string } };
    expect(error.param).toBe(param);
    expect(error.message).toMatch(message);
  });
});

describe('responses that call functions', () => {
  const functions = [{ type: 'function' as const, name: 'weather', parameters: place, strict: true }];
  const request = {
    model: 'tiny',
    input: 'What is the weather?',
    tools: functions,
    tool_choice: 'required' as const,
    parallel_tool_calls: false,
    seed: 3,
  };

  it('have items of calls, to which results are given', async () => {
    const { client } = await serve(model);
    const first = await client.responses.create(request);
    const calls = first.output.filter((item) => item.type === 'function_call');
    expect(calls.length).toBe(first.output.length);
    for (const { name, arguments: json } of calls) {
      expect(name).toBe('weather');
      expect(validators.weather(JSON.parse(json))).toBe(true);
    }
    const results = calls.map(({ call_id }) => ({ type: 'function_call_output' as const, call_id, output: 'sunny' }));
    const second = await client.responses.create({
      ...request,
      ...{ previous_response_id: first.id, input: results, tool_choice: 'none', max_output_tokens: 5 },
    });
    expect(second.output[0]).toMatchObject({ type: 'message', role: 'assistant' });
    const again = await client.responses.create({
      ...request,
      ...{
        input: [{ role: 'user', content: 'What is the weather?' }, ...calls, ...results],
        max_output_tokens: 5,
        tool_choice: 'none',
      },
    });
    expect(again.usage?.input_tokens).toBe(second.usage?.input_tokens);
  });

  it('are of the allowed functions', async () => {
    const { client } = await serve(model);
    const sky = { type: 'function' as const, name: 'sky', parameters: place, strict: true };
    const tool_choice = {
      type: 'allowed_tools' as const,
      ...{ mode: 'required' as const, tools: [{ type: 'function', name: 'sky' }] },
    };
    const { output, tool_choice: told } = await client.responses.create({
      ...request,
      ...{ tools: [...functions, sky], tool_choice },
    });
    expect(output.map((one) => one.type === 'function_call' && one.name)).toEqual(['sky']);
    expect(told).toEqual(tool_choice);
  });

  it('keep the ids of parallel calls, in a stream, in the whole answer and for results', async () => {
    const { client } = await serve(model);
    const parallel = { ...request, parallel_tool_calls: true };
    const first = await client.responses.create(parallel);
    const ids = (output: readonly OpenAI.Responses.ResponseOutputItem[]) =>
      output.map((item) => item.type === 'function_call' && item.call_id);
    expect(first.output.length).toBeGreaterThan(1);
    expect(ids((await client.responses.retrieve(first.id)).output)).toEqual(ids(first.output));
    const calls = first.output.filter((item) => item.type === 'function_call');
    const results = calls.map(({ call_id }) => ({ type: 'function_call_output' as const, call_id, output: 'a' }));
    const more = { ...parallel, tool_choice: 'auto', max_output_tokens: 1 } as const;
    const user = { role: 'user' as const, content: request.input };
    const next = await client.responses.create({ ...more, previous_response_id: first.id, input: results });
    const again = await client.responses.create({ ...more, input: [user, ...calls, ...results] });
    expect(next.usage?.input_tokens).toBe(again.usage?.input_tokens);
    const told: OpenAI.Responses.ResponseOutputItem[] = [];
    for await (const event of await client.responses.create({ ...parallel, stream: true })) {
      if (event.type === 'response.output_item.done') told.push(event.item);
      if (event.type === 'response.completed') expect(event.response.output).toEqual(told);
    }
    expect(told.length).toBe(first.output.length);
  });

  it('are incomplete items where a stop string cuts them short', async () => {
    const { client } = await serve(model, { toolFormat: 'hermes' });
    const cut = { ...request, stop: '"days' };
    const output = [{ type: 'function_call', status: 'incomplete' }];
    expect(await client.responses.create(cut)).toMatchObject({ status: 'completed', output });
    const told: unknown[] = [];
    for await (const event of await client.responses.create({ ...cut, stream: true })) {
      if (event.type === 'response.output_item.done') told.push(event.item);
      if (event.type === 'response.completed') told.push(...event.response.output);
    }
    expect(told).toMatchObject([...output, ...output]);
  });

  it('may be given back after the text before them: both are one message, as in chats', async () => {
    const { client } = await serve(model);
    const called = { name: 'weather', arguments: '{"city": "Paris"}' };
    const response = await client.responses.create({
      ...request,
      input: [
        { role: 'user', content: 'What is the weather?' },
        { role: 'assistant', content: 'Let me see.' },
        { type: 'function_call', call_id: 'a', ...called },
        { type: 'function_call_output', call_id: 'a', output: 'sunny' },
      ],
      ...{ max_output_tokens: 1, tool_choice: 'none' },
    });
    const chat = await client.chat.completions.create({
      model: 'tiny',
      messages: [
        { role: 'user', content: 'What is the weather?' },
        { role: 'assistant', content: 'Let me see.', tool_calls: [{ id: 'a', type: 'function', function: called }] },
        { role: 'tool', tool_call_id: 'a', content: 'sunny' },
      ],
      max_completion_tokens: 1,
    });
    expect(response.usage?.input_tokens).toBe(chat.usage?.prompt_tokens);
  });

  it('stream them as events', async () => {
    const { client } = await serve(model);
    const events: string[] = [];
    let json = '';
    let last: OpenAI.Responses.Response | undefined;
    for await (const event of await client.responses.create({ ...request, stream: true })) {
      if (events.at(-1) !== event.type) events.push(event.type);
      if (event.type === 'response.output_item.added') expect(event.item).toMatchObject({ arguments: '' });
      if (event.type === 'response.function_call_arguments.delta' && event.output_index === 0) json += event.delta;
      if (event.type === 'response.completed') last = event.response;
    }
    expect(events.slice(0, 5)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
    ]);
    expect(last?.output[0]).toMatchObject({ type: 'function_call', name: 'weather', arguments: json });
  });
});
