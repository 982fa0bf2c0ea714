/** Conversations in the form of Qwen3.5, with tools and thinking: written from the description of its template, not copied. */
import { expect, it } from 'vitest';
import { byteTokenizer } from './bytes.ts';
import { ChatTemplate } from './chat-template.ts';

const source = `{%- if tools -%}
  {{- '<|im_start|>system\\n# Tools\\n<tools>' -}}
  {%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
  {{- '\\n</tools>\\n<tool_call>\\n<function=NAME>\\n<parameter=KEY>\\nVALUE\\n</parameter>\\n</function>\\n</tool_call><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' -}}
  {%- elif message.tool_calls -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- for call in message.tool_calls -%}
      {{- '<tool_call>\\n<function=' + call.function.name + '>\\n' -}}
      {%- for key, value in call.function.arguments | items -%}
        {{- '<parameter=' + key + '>\\n' + (value if value is string else value | tojson) + '\\n</parameter>\\n' -}}
      {%- endfor -%}
      {{- '</function>\\n</tool_call><|im_end|>\\n' -}}
    {%- endfor -%}
  {%- else -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n<think>\\n' + ('\\n</think>\\n\\n' if enable_thinking is false else '') -}}
{%- endif -%}`;

const template = new ChatTemplate(source, byteTokenizer(), 'test');

it('has turns, and begins an answer with thinking', () => {
  expect(template.render([{ role: 'user', content: 'Hello' }])).toBe(
    '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n',
  );
});

it('describes tools, whose results are turns of the user', () => {
  const messages = [
    { role: 'user', content: 'Weather?' },
    { role: 'tool', content: '{"celsius": 20}' },
  ];
  const text = template.render(messages, { tools: [{ name: 'get_weather' }] });
  expect(text).toContain('<tools>\n{"name": "get_weather"}\n</tools>');
  expect(text).toContain('<|im_start|>user\n<tool_response>\n{"celsius": 20}\n</tool_response><|im_end|>\n');
});
