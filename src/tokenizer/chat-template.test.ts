/** Conversations as tokens: control tokens of the template count, those that people write do not. */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { byteTokenizer } from './bytes.ts';
import { type ChatMessage, type ChatTemplate, chatTokens, configuredTemplate } from './chat-template.ts';

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
