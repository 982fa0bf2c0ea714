/** Conversations in the form of Gemma 3: written from the description of its template, not copied. */
import { expect, it } from 'vitest';
import { byteTokenizer } from './bytes.ts';
import { ChatTemplate } from './chat-template.ts';

const source = `{{- bos_token -}}
{%- set ns = namespace(before='') -%}
{%- if messages[0].role == 'system' -%}
  {%- set ns.before = messages[0].content + '\\n\\n' -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate') -}}
  {%- endif -%}
  {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
  {{- (ns.before if loop.first else '') + (message.content | trim) + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}`;

const template = new ChatTemplate(source, byteTokenizer(), 'test');
const user = (content: string) => ({ role: 'user', content });

it('has turns of user and model, the system prompt inside the first', () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    user('Hello '),
    { role: 'assistant', content: 'Hi' },
    user('Why?'),
  ];
  const turns = ['user\nBe brief.\n\nHello', 'model\nHi', 'user\nWhy?'];
  const said = turns.map((turn) => `<start_of_turn>${turn}<end_of_turn>\n`).join('');
  expect(template.render(messages).endsWith(`${said}<start_of_turn>model\n`)).toBe(true);
});

it('refuses two turns of one speaker', () => {
  expect(() => template.render([user('Hello'), user('Hello?')])).toThrow('roles must alternate');
});
