import Ajv from 'ajv';
import { describe, expect, it } from 'vitest';
import { ByteMachine, type MachineState } from '../../decoding/constraints/byte-machine.ts';
import { Random } from '../../random.ts';
import { CallReader, type AnswerPart } from './call-reader.ts';
import { pythonArguments } from './literal-arguments.ts';
import {
  type ToolFormat,
  toolFormatNamed,
  toolFormatOf,
  toolFormats,
  type ToolFunction,
  writeCalls,
} from './tool-formats.ts';
import { toolGrammar } from './tool-calls.ts';

const tools: ToolFunction[] = [
  {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer', minimum: 1, maximum: 14 },
        exact: { type: 'boolean' },
      },
      required: ['city'],
    },
  },
  { name: 'now' },
];

/** What models of each format write, as their templates show it. */
const transcripts: Readonly<Record<string, string>> = {
  hermes:
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "exact": true}}\n</tool_call>\n' +
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
  'qwen3.5':
    '<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=exact>\ntrue\n</parameter>\n' +
    '</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>',
  lfm2: '<|tool_call_start|>[get_weather(city="Paris", exact=True), now()]<|tool_call_end|>',
  olmo3: '<function_calls>get_weather(city="Paris", exact=True)\nnow()</function_calls>',
  gemma4: '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,exact:true}<tool_call|><|tool_call>call:now{}<tool_call|>',
  'function-gemma':
    '<start_function_call>call:get_weather{city:<escape>Paris<escape>,exact:true}<end_function_call>' +
    '<start_function_call>call:now{}<end_function_call>',
  'mistral-id':
    '[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{"city": "Paris", "exact": true}' +
    '[TOOL_CALLS]now[CALL_ID]abcdefgh2[ARGS]{}',
  'mistral-args': '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "exact": true}[TOOL_CALLS]now[ARGS]{}',
  'mistral-nemo':
    '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris", "exact": true}}, {"name": "now", "arguments": {}}]',
  mistral:
    '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris", "exact": true}}, {"name": "now", "arguments": {}}]',
  granite:
    '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris", "exact": true}}, {"name": "now", "arguments": {}}]',
  llama3: '{"name": "get_weather", "parameters": {"city": "Paris", "exact": true}}',
  'plain-json':
    '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris", "exact": true}}, {"name": "now", "arguments": {}}]}',
};

interface Read {
  text: string;
  readonly calls: { readonly name: string; readonly id?: string; arguments: string }[];
}

function folded(parts: readonly AnswerPart[]): Read {
  const read: Read = { text: '', calls: [] };
  for (const part of parts) {
    if (part.type === 'text') read.text += part.text;
    else if (part.type === 'call') read.calls.push({ name: part.name, arguments: '', ...(part.id && { id: part.id }) });
    else read.calls[part.index].arguments += part.json;
  }
  return read;
}

/** Reads a text in pieces of some lengths. */
function read(format: ToolFormat, text: string, functions = tools, piece = (): number => 1): Read {
  const reader = new CallReader(format, functions);
  const parts: AnswerPart[] = [];
  for (let from = 0; from < text.length; ) {
    const to = Math.min(text.length, from + piece());
    parts.push(...reader.push(text.slice(from, to)));
    from = to;
  }
  return folded([...parts, ...reader.end()]);
}

/** The state after a text; null where the grammar has none. */
function after(machine: ByteMachine, text: string, from = machine.start): MachineState | null {
  let state: MachineState | null = from;
  for (const byte of new TextEncoder().encode(text)) if (state !== null) state = machine.step(state, byte);
  return state;
}

/** A random text of a grammar, which ends soon where it can. */
function randomText(machine: ByteMachine, random: Random, ending: string): string {
  const bytes: number[] = [];
  let state = machine.start;
  while (bytes.length < 4000) {
    const from = state;
    const possible = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => machine.step(from, byte) !== null);
    if (possible.length === 0 || (state.accepts && random.uniform() < 0.5)) {
      return new TextDecoder().decode(Uint8Array.from(bytes));
    }
    // Texts of quotes and brackets end sooner, and so do those in tags.
    const ends = possible.filter((byte) => '"\'}])<'.includes(String.fromCharCode(byte)));
    const choices = ends.length > 0 && random.uniform() < 0.4 ? ends : possible;
    const isFree = possible.length > 100 && random.uniform() < 0.2;
    const whole = isFree ? after(machine, ending, state) : null;
    const next = whole === null ? [choices[random.integer(choices.length)]] : new TextEncoder().encode(ending);
    for (const byte of next) {
      const reached = machine.step(state, byte);
      if (reached === null) throw new Error('a byte that does not fit');
      bytes.push(byte);
      state = reached;
    }
  }
  throw new Error('a text without an end');
}

/** What ends a string between marks of several letters. */
const stringEnds: Readonly<Record<string, string>> = { gemma4: '<|"|>', 'function-gemma': '<escape>' };

const wide: ToolFunction = {
  name: 'edit-file_2',
  parameters: {
    type: 'object',
    properties: {
      path: { type: 'string', pattern: '^[a-z]{1,8}/[a-z]{1,8}\\.ts$' },
      mode: { enum: ['read', 'write'] },
      lines: { type: 'array', items: { type: 'integer', minimum: 0, maximum: 999 }, maxItems: 4 },
      title: { type: 'string', minLength: 2, maxLength: 9 },
      note: { type: ['string', 'null'], maxLength: 5 },
      where: { $ref: '#/$defs/place' },
      force: { type: 'boolean' },
      text: { type: 'string' },
    },
    required: ['path', 'lines', 'text'],
    $defs: { place: { type: 'object', properties: { line: { type: 'number' }, within: { $ref: '#/$defs/place' } } } },
  },
};

describe('formats of calls', () => {
  it.each(toolFormats.map((format) => [format.name, format] as const))(
    '%s: a transcript is read and written byte for byte',
    (name, format) => {
      const text = transcripts[name];
      const { text: before, calls } = read(format, text);
      expect(before).toBe('');
      expect(calls[0].name).toBe('get_weather');
      expect(JSON.parse(calls[0].arguments)).toEqual({ city: 'Paris', exact: true });
      if (format.between !== undefined) expect(calls[1]).toMatchObject({ name: 'now', arguments: '{}' });
      expect(writeCalls(format, calls)).toBe(text);
      for (const required of [true, false]) {
        const machine = new ByteMachine(toolGrammar({ format, tools, required, parallel: true }));
        expect(after(machine, text)?.accepts).toBe(true);
      }
    },
  );

  it.each(toolFormats.map((format) => [format.name, format] as const))(
    '%s: text before calls is free, calls are held',
    (_, format) => {
      const machine = new ByteMachine(toolGrammar({ format, tools, required: false, parallel: true }));
      for (const text of ['', 'The weather <tool is {"fine"}.', 'Ünïcödé 🌞\n\n', '<tool_cal', '[TOOL', '{"tool']) {
        expect(after(machine, text)?.accepts).toBe(true);
        expect(read(format, text)).toEqual({ text, calls: [] });
      }
      const text = transcripts[format.name];
      const strange = text.replace('get_weather', 'rm_rf');
      expect(after(machine, strange)).toBe(null);
      if (format.isWhole !== true) {
        expect(after(machine, `Let me look. ${text}`)?.accepts).toBe(true);
        expect(read(format, `Let me look. ${text}`).text).toBe('Let me look. ');
      }
      expect(after(machine, `${text} and more`)).toBe(null);
    },
  );

  it.each(toolFormats.map((format) => [format.name, format] as const))(
    '%s: random texts of the grammar are valid calls',
    (name, format) => {
      const random = new Random(7);
      const validate = new Ajv({ allErrors: true }).compile(wide.parameters ?? {});
      const functions = [wide, ...tools];
      const machine = new ByteMachine(toolGrammar({ format, tools: functions, required: true, parallel: true }));
      let checked = 0;
      for (let count = 0; count < 60; count++) {
        const text = randomText(machine, random, stringEnds[name] ?? '\n</parameter>');
        const { text: before, calls } = read(format, text, functions, () => 1 + random.integer(7));
        expect(before).toBe('');
        expect(calls.length).toBeGreaterThan(0);
        for (const { name: called, arguments: json } of calls) {
          const value: unknown = JSON.parse(json);
          if (called !== wide.name) continue;
          checked++;
          expect(validate(value), `${text}\n${json}\n${JSON.stringify(validate.errors)}`).toBe(true);
        }
      }
      expect(checked).toBeGreaterThan(10);
    },
  );

  it.each([
    ['hermes', '…<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>'],
    ['qwen3.5', '<tool_call>\n<function=example>\n<parameter=a>'],
    ['lfm2', 'List of tools: <|tool_list_start|>'],
    ['lfm2', "{{- '<|tool_call_start|>[' + calls }}"],
    ['olmo3', '<function_calls>'],
    ['gemma4', "{{- '<|tool_call>call:' }}"],
    ['function-gemma', '<start_function_call>call:'],
    ['mistral-id', "{{ '[TOOL_CALLS]' + name + '[CALL_ID]' + id + '[ARGS]' }}"],
    ['mistral-args', "{{ '[TOOL_CALLS]' + name + '[ARGS]' }}"],
    ['mistral-nemo', "{{ '[TOOL_CALLS][' }}"],
    ['mistral', "{{ '[TOOL_CALLS] [' }}"],
    ['granite', '<|tool_call|>'],
    ['llama3', '<|start_header_id|> {"name": function name, "parameters": dictionary}'],
    ['plain-json', '{% for message in messages %}'],
  ])('%s is recognized by its template', (name, template) => {
    expect(toolFormatOf({ has: (text) => template.includes(text) }).name).toBe(name);
    expect(toolFormatNamed(name).name).toBe(name);
  });

  it.each(Object.entries(transcripts))('%s: where calls are cut short, their marks are no text', (name, transcript) => {
    const format = toolFormatNamed(name);
    for (let length = 1; length <= transcript.length; length++) {
      const { text, calls } = read(format, transcript.slice(0, length));
      if (calls.length > 0) expect(text, transcript.slice(0, length)).toBe('');
    }
  });

  it('have names', () => {
    expect(() => toolFormatNamed('x')).toThrow(/there are lfm2, olmo3, qwen3.5/);
  });

  it.each(toolFormats.map((format) => [format.name, format] as const))(
    '%s: JSON of a schema beside calls is text, also where it looks like a call',
    (_, format) => {
      const grammar = (schema: unknown) =>
        new ByteMachine(toolGrammar({ format, tools, required: false, parallel: true, schema }));
      for (const text of [
        '{"name": "Bob", "days": 3}',
        '{"tool_calls": []}',
        '{"a": true, "b": null}',
        '{"text": "<tool_call> [TOOL_CALLS] <|tool_call|> <|tool_call_start|>"}',
      ]) {
        expect(after(grammar({ type: 'object' }), text)?.accepts, text).toBe(true);
        const reader = new CallReader(format, tools, true);
        const parts = [...text].flatMap((letter) => reader.push(letter));
        expect(folded([...parts, ...reader.end()])).toEqual({ text, calls: [] });
      }
      const reader = new CallReader(format, tools, true);
      const { calls } = folded([...reader.push(transcripts[format.name]), ...reader.end()]);
      expect(calls[0].name).toBe('get_weather');
    },
  );

  it('keep references of functions and answers apart', () => {
    const referring = (type: string) => ({
      type: 'object',
      properties: { a: { $ref: '#/$defs/a' } },
      required: ['a'],
      $defs: { a: { type } },
    });
    const format = toolFormatNamed('llama3');
    const answer: ToolFunction = { name: 'answer', parameters: referring('integer') };
    const rules = { format, tools: [answer], required: false, parallel: false, schema: referring('boolean') };
    const machine = new ByteMachine(toolGrammar(rules));
    expect(after(machine, '{"name": "answer", "parameters": {"a": 7}}')?.accepts).toBe(true);
    expect(after(machine, '{"name": "answer", "parameters": {"a": true}}')).toBe(null);
    expect(after(machine, '{"a": true}')?.accepts).toBe(true);
  });

  it.each(toolFormats.map(({ name }) => name))('%s: what it has no way to hold or to write is refused', (name) => {
    const grammar = (tool: ToolFunction) =>
      toolGrammar({ format: toolFormatNamed(name), tools: [tool], required: true, parallel: false });
    const properties = { a: { type: 'boolean' } };
    expect(() => grammar({ name: 'f', parameters: { properties, minProperties: 1 } })).toThrow(/"minProperties"/);
    for (const odd of ['', 'a"b', 'a(b', 'a b', 'a>\n']) {
      expect(() => grammar({ name: odd }), odd).toThrow(/a function is called .*; expected up to 64 letters/);
    }
  });

  it('write strings of megabytes, and words of Python outside strings alone', () => {
    const text = 'a"true\\'.repeat(1_000_000);
    const written = pythonArguments(false).write(JSON.stringify({ text, exact: true }));
    expect(written === `text=${JSON.stringify(text)}, exact=True`).toBe(true);
    const read = (values: string) => pythonArguments(false).reader({}).read(`${values})`).json;
    expect(read('a="True", b=None, c=constructor')).toBe('{"a": "True", "b": null, "c": "constructor"}');
  });

  it('refuse functions whose arguments cannot be held', () => {
    const grammar = (parameters: Record<string, unknown>, name = 'hermes') =>
      toolGrammar({
        format: toolFormatNamed(name),
        tools: [{ name: 'f', parameters }],
        required: true,
        parallel: false,
      });
    expect(() => grammar({ type: 'string' })).toThrow(/"f" have the type "string"/);
    expect(() => grammar({ anyOf: [] })).toThrow(/"anyOf"/);
    expect(() => grammar({ properties: { a: { not: { type: 'null' } } } })).toThrow(
      /the function "f": .*"not" is not supported/,
    );
    expect(() => grammar({ properties: { 'a b': {} } }, 'lfm2')).toThrow(/no way to write the parameter "a b"/);
    // A bracket of a name would be one of the value.
    expect(() => grammar({ properties: { 'a[': {}, b: {} } }, 'lfm2')).toThrow(/no way to write the parameter "a\["/);
  });
});
