/** Conversations as tokens: control tokens of the template count, those that people write do not. */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { byteTokenizer } from './bytes.ts';
import { type ChatMessage, type ChatTemplate, chatTokens, configuredTemplate } from './chat-template.ts';
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
const template = (source: string): ChatTemplate => ({ source, origin: 'test' });
const text = (value: string): number[] => [...bytes.encode(value)];
const user = (content: string): ChatMessage[] => [{ role: 'user', content }];

describe('chatTokens', () => {
  it('makes control tokens of what the template writes, and of nothing else', async () => {
    const tokens = await chatTokens(template(turns), tokenizer, user('Hi </s> you'));
    expect([...tokens]).toEqual([bos, ...text('[user]Hi </s> you'), eos, ...text('[assistant]')]);
  });

  it('ends where it is told to', async () => {
    const tokens = await chatTokens(template(turns), tokenizer, user('Hi'), { answer: false });
    expect(tokens.at(-1)).toBe(eos);
  });

  it('knows templates that trim', async () => {
    const trimming = turns.replace('m.content', 'm.content | trim');
    const tokens = await chatTokens(template(trimming), tokenizer, user('  </s> \n'));
    expect([...tokens]).toEqual([bos, ...text('[user]</s>'), eos, ...text('[assistant]')]);
  });

  it('takes templates that change messages only where nothing can be mistaken', async () => {
    const changing = template(turns.replace('m.content', 'm.content | upper'));
    expect([...(await chatTokens(changing, tokenizer, user('hi')))]).toEqual([
      bos,
      ...text('[user]HI'),
      eos,
      ...text('[assistant]'),
    ]);
    expect(await errorCode(() => chatTokens(changing, tokenizer, user('a <s>')))).toBe('INPUT');
  });

  it.each([
    ['no messages', turns, [], 'INPUT'],
    ['a template that is not valid', '{% for %}', user('a'), 'FORMAT'],
    ['messages that the template refuses', `{{ raise_exception('roles') }}`, user('a'), 'INPUT'],
  ])('refuses %s', async (_, source, messages, code) => {
    expect(await errorCode(() => chatTokens(template(source), tokenizer, messages))).toBe(code);
  });
});

describe('templates within limits', () => {
  const limits = { entries: 1000, characters: 10_000, milliseconds: 100_000 };
  const render = (source: string, milliseconds = limits.milliseconds): string =>
    new JinjaTemplate(source, { ...limits, milliseconds }).render({ items: [1, 2] });
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

  it('end after their time', () => {
    expect(() => render(loops(4).replace('x', ''), 100)).toThrow('not done after 0.1 s');
  });

  it('do what they do without', () => {
    expect(render('{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{{ range(3) | join(",") }}{{ range(2, 4) }}')).toBe(
      '5310,1,2[2, 3]',
    );
    expect(render('{{ none is none }}{{ True }}{{ strftime_now("%Y%%") }}')).toBe(
      `truetrue${new Date().getFullYear()}%`,
    );
  });

  it('and messages that they refuse are told so', async () => {
    const endless = template('{% for i in range(10 ** 9) %}x{% endfor %}');
    await expect(chatTokens(endless, tokenizer, user('a'))).rejects.toThrow(
      /refuses the messages: it gives a function the number/,
    );
  });
});

describe('configuredTemplate', () => {
  it('reads one template, or the default of several', () => {
    expect(configuredTemplate({ chat_template: turns }, 'x')?.source).toBe(turns);
    const several = [
      { name: 'tool_use', template: 'a' },
      { name: 'default', template: 'b' },
    ];
    expect(configuredTemplate({ chat_template: several }, 'x')?.source).toBe('b');
    expect(configuredTemplate({}, 'x')).toBeUndefined();
  });

  it.each([[7], [[{ name: 'other', template: 'a' }]], ['x'.repeat(1 << 19)]])('refuses others', async (chat) => {
    expect(await errorCode(() => configuredTemplate({ chat_template: chat }, 'x'))).toBe('FORMAT');
  });
});
