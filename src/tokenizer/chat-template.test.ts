/** Conversations as tokens: control tokens of the template count, those that people write do not. */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { byteTokenizer } from './bytes.ts';
import { type ChatMessage, ChatTemplate } from './chat-template.ts';
import { findChatTemplate } from './chat-template-sources.ts';

const bytes = byteTokenizer();
const [bos, eos] = [256, 257];
/** The byte tokenizer with names for its control tokens. */
const tokenizer = {
  vocabularySize: bytes.vocabularySize,
  bosId: bos,
  eosId: eos,
  specialIds: bytes.specialIds,
  specialNames: new Map([
    ['<s>', bos],
    ['</s>', eos],
  ]),
  encode: bytes.encode.bind(bytes),
  decode: bytes.decode.bind(bytes),
};

const turns = `{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;
const template = (source: string): ChatTemplate => new ChatTemplate(source, tokenizer, 'test');
const text = (value: string): number[] => [...bytes.encode(value)];
const user = (content: string): ChatMessage[] => [{ role: 'user', content }];

describe('a chat template', () => {
  it('makes control tokens of what the template writes, and of nothing else', () => {
    const tokens = template(turns).encode(user('Hi </s> you'));
    expect([...tokens]).toEqual([bos, ...text('[user]Hi </s> you'), eos, ...text('[assistant]')]);
  });

  it('gives the same tokens where it remembers messages, and encodes each of them once', () => {
    const encoded: string[] = [];
    const counted = {
      ...tokenizer,
      encode(given: string) {
        encoded.push(given);
        return bytes.encode(given);
      },
    };
    const remembering = new ChatTemplate(turns, counted);
    const memory = new Map<string, Int32Array>();
    const messages = ['One', 'Two </s>', 'Three'].map((content) => ({ role: 'user', content }));
    for (let turn = 1; turn <= 3; turn++) {
      const [said, expected] = [messages.slice(0, turn), template(turns).encode(messages.slice(0, turn))];
      expect(remembering.encode(said, { memory })).toEqual(expected);
    }
    expect(encoded).toEqual(['[user]One', '[assistant]', '[user]Two </s>', '[user]Three']);
  });

  it('gets the parts of a message where it knows them, else the joined text', () => {
    const parts = [
      { type: 'text', text: 'a</s>' },
      { type: 'text', text: 'b' },
    ] as const;
    const messages = [{ role: 'user', content: 'a</s>b', parts }];
    const joined = '{% for m in messages %}{{ m.content }}{% endfor %}';
    expect(template(joined).encode(messages)).toEqual(text('a</s>b'));
    for (const test of ["part.type == 'text'", "part['type'] == 'text'", 'part["type"] == "text"']) {
      const lines = `{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if ${test} %}{{ part.text }}|{% endif %}{% endfor %}{% endif %}{% endfor %}`;
      expect(template(lines).encode(messages)).toEqual(text('a</s>|b|'));
      expect(template(lines).encode(user('ab'))).toEqual(text('ab'));
    }
  });

  it('gets thoughts that are told again as a part, where it reads such', () => {
    const lines = `{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part['type'] == 'text' %}{{ part.text }}|{% elif part['type'] == 'thinking' %}({{ part.thinking }}){% endif %}{% endfor %}{% endif %}{% endfor %}`;
    const said = { role: 'assistant', thinking: 'Hm </s>', reasoning_content: 'Hm </s>' };
    const written = (message: ChatMessage, source = lines) => template(source).encode([message]);
    expect(written({ ...said, content: 'So.' })).toEqual(text('(Hm </s>)So.|'));
    expect(written({ ...said, content: '' })).toEqual(text('(Hm </s>)'));
    expect(written({ ...said, content: 'So.' }, lines.replace("'thinking'", "'thoughts'"))).toEqual(text('So.'));
  });

  it('ends where it is told to', () => {
    const tokens = template(turns).encode(user('Hi'), { addGenerationPrompt: false });
    expect(tokens.at(-1)).toBe(eos);
  });

  it('knows templates that trim', () => {
    const trimming = turns.replace('m.content', 'm.content | trim');
    const tokens = template(trimming).encode(user('  </s> \n'));
    expect([...tokens]).toEqual([bos, ...text('[user]</s>'), eos, ...text('[assistant]')]);
  });

  it('takes templates that change messages', () => {
    const changing = template(turns.replace('m.content', 'm.content | upper'));
    for (const [given, written] of [
      ['hi', 'HI'],
      ['a <s>', 'A <S>'],
    ]) {
      expect(changing.encode(user(given))).toEqual([bos, ...text(`[user]${written}`), eos, ...text('[assistant]')]);
    }
  });

  it('passes tools, documents and variables on, and no control token out of them', () => {
    const all = template('{{ tools | tojson }}{{ documents[0].text }}{{ style }}{{ eos_token }}');
    const given = { tools: [{ name: '</s>' }], documents: [{ text: '<s>' }], variables: { style: '</s>' } };
    expect(all.encode(user('a'), given)).toEqual([...text('[{"name": "</s>"}]<s></s>'), eos]);
    expect(all.render(user('a'), given)).toBe('[{"name": "</s>"}]<s></s></s>');
  });

  it('takes the template for tools where there are any', () => {
    const two = new ChatTemplate({ default: 'plain', tool_use: 'tools' }, tokenizer);
    expect([two.render(user('a')), two.render(user('a'), { tools: [] })]).toEqual(['plain', 'tools']);
  });

  it.each([
    ['no messages', turns, [], 'INPUT'],
    ['a template that is not valid', '{% for %}', user('a'), 'FORMAT'],
    ['messages that the template refuses', `{{ raise_exception('roles') }}`, user('a'), 'INPUT'],
  ])('refuses %s', async (_, source, messages, code) => {
    expect(await errorCode(() => template(source).encode(messages))).toBe(code);
  });
});

it('messages that go beyond the limits of a template are refused', () => {
  const endless = template('{% for i in range(10 ** 9) %}x{% endfor %}');
  expect(() => endless.encode(user('a'))).toThrow(/refuses the messages: it gives a function the number/);
});

describe('findChatTemplate', () => {
  const find = (files: Readonly<Record<string, unknown>>, additional = {}) =>
    findChatTemplate(
      {
        read: (name) => {
          const given = Object.hasOwn(files, name) ? files[name] : undefined;
          if (given === undefined) return Promise.resolve(undefined);
          return Promise.resolve(Buffer.from(typeof given === 'string' ? given : JSON.stringify(given)));
        },
        nameOf: (name) => name,
        additional: () => Promise.resolve(additional),
      },
      tokenizer,
    );
  const config = (chat: unknown) => ({ 'tokenizer_config.json': { chat_template: chat } });

  it('reads one template, or the default of several', async () => {
    expect((await find(config(turns)))?.source).toBe(turns);
    const several = [
      { name: 'tool_use', template: 'a' },
      { name: 'default', template: 'b' },
    ];
    const named = await find(config(several));
    expect([named?.render(user('x')), named?.render(user('x'), { tools: [] })]).toEqual(['b', 'a']);
    expect(await find({ 'tokenizer_config.json': {} })).toBeUndefined();
    expect(await find({})).toBeUndefined();
  });

  it('prefers files of their own, and adds those of additional_chat_templates', async () => {
    const files = { ...config('c'), 'chat_template.json': { chat_template: 'b' }, 'chat_template.jinja': 'a' };
    expect((await find(files))?.source).toBe('a');
    expect((await find({ ...files, 'chat_template.jinja': undefined }))?.source).toBe('b');
    expect((await find(files, { tool_use: 't' }))?.render(user('x'), { tools: [] })).toBe('t');
  });

  it.each([[7], [[{ name: 'other', template: 'a' }]], ['x'.repeat(1 << 19)]])('refuses others', async (chat) => {
    expect(await errorCode(() => find(config(chat)))).toBe('FORMAT');
  });
});
