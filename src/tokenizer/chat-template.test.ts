/** Conversations as tokens: control tokens of the template count, those that people write do not. */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { byteTokenizer } from './bytes.ts';
import { type ChatMessage, ChatTemplate } from './chat-template.ts';
import { TextMemory } from './encode-text.ts';
import { findChatTemplate } from './chat-template-sources.ts';
import { JinjaTemplate } from './jinja-template.ts';

const bytes = byteTokenizer();
const [bos, eos] = [256, 257];
/** The byte tokenizer with names for its control tokens. */
const tokenizer = {
  ...{ vocabularySize: bytes.vocabularySize, bosId: bos, eosId: eos, specialIds: bytes.specialIds },
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
    const remembering = new ChatTemplate(turns, counted).remembering();
    const messages = ['One', 'Two </s>', 'Three'].map((content) => ({ role: 'user', content }));
    for (let turn = 1; turn <= 3; turn++) {
      expect(remembering.encode(messages.slice(0, turn))).toEqual(template(turns).encode(messages.slice(0, turn)));
    }
    expect(encoded).toEqual(['[user]One', '[assistant]', '[user]Two </s>', '[user]Three']);
  });

  it('remembers no more than a million characters, the last ones', () => {
    const memory = new TextMemory();
    let encoded = 0;
    const take = (letter: string): Int32Array =>
      memory.take(letter.repeat(300_000), () => {
        encoded++;
        return Int32Array.of(encoded);
      });
    for (const letter of 'abcacda') take(letter);
    expect(encoded).toBe(4);
    take('b');
    expect(encoded).toBe(5);
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

describe('templates within limits', () => {
  const limits = { entries: 1000, characters: 10_000, work: 1e9 };
  const render = (source: string, work = limits.work): string =>
    new JinjaTemplate(source, { ...limits, work }).render({ items: [1, 2] });
  const loops = (depth: number): string =>
    depth === 0 ? 'x' : `{% for i in range(900) %}${loops(depth - 1)}{% endfor %}`;

  it.each([
    ['{% for i in range(10 ** 9) %}x{% endfor %}', /gives a function the number 1000000000; at most 1000/],
    ['{% for i in range(0, 900, 0.01) %}x{% endfor %}', /range\(\) of 90000 numbers; at most 1000 are made/],
    ['{{ range(-(10 ** 9), 1) }}', /range\(\) of 1000000001 numbers/],
    ['{% set n = namespace(s="x") %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}', /a text of more/],
    ['{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}', /a list of more/],
    ['{% for i in range(900) %}{{ "x" | indent(90, true) }}{% endfor %}', /a text of more than 10000 characters/],
    ['{{ "x" | indent(10 ** 8, true) }}', /gives a function the number 100000000/],
    ['{{ items | tojson(indent=10 ** 8) }}', /gives a function the number 100000000/],
    ['{{ range(1, 2, 0) }}', /a step other than 0/],
  ])('end: %s', (source, message) => {
    expect(() => render(source)).toThrow(message);
  });

  it('end after their work, however little they write', () => {
    for (const body of ['x', '']) {
      expect(() => render(loops(4).replace('x', body), 10_000)).toThrow('it takes more than 10000 units of work');
    }
  });

  it('count a loop, a filter and a method by the size of what they go over', () => {
    const repeated = (work: string): string => `{% for i in range(900) %}{% set t = ${work} %}{% endfor %}`;
    for (const work of ['range(900)', 'range(900) | sort', 'text | upper', 'text.replace("x", "y")']) {
      const rendered = (): string =>
        new JinjaTemplate(repeated(work), { ...limits, work: 20_000 }).render({ text: 'x'.repeat(1000) });
      expect(rendered, work).toThrow('units of work');
    }
    expect(() => render(repeated('items'), 20_000)).not.toThrow();
  });

  it('do what they do without', () => {
    expect(render('{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{{ range(3) | join(",") }}{{ range(2, 4) }}')).toBe(
      '5310,1,2[2, 3]',
    );
    expect(render('{{ none is none }}{{ True }}{{ strftime_now("%Y%%") }}')).toBe(
      `truetrue${new Date().getFullYear()}%`,
    );
  });

  it('and messages that they refuse are told so', () => {
    const endless = template('{% for i in range(10 ** 9) %}x{% endfor %}');
    expect(() => endless.encode(user('a'))).toThrow(/refuses the messages: it gives a function the number/);
  });
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
