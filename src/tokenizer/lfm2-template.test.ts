/** Conversations in the form of LFM2, with tools: written from the description of its template, not copied. */
import { expect, it } from 'vitest';
import { byteTokenizer } from './bytes.ts';
import { ChatTemplate } from './chat-template.ts';

const source = `{{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- if messages[0].role == 'system' -%}
  {%- set ns.system = messages[0].content -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
  {%- set ns.system = ns.system + ('\\n' if ns.system else '') + 'List of tools: <|tool_list_start|>[' -%}
  {%- for tool in tools -%}
    {%- set ns.system = ns.system + (tool | tojson) + ('' if loop.last else ', ') -%}
  {%- endfor -%}
  {%- set ns.system = ns.system + ']<|tool_list_end|>' -%}
{%- endif -%}
{%- if ns.system -%}{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n' -}}{%- endif -%}
{%- for message in messages -%}
  {%- set content = message.content -%}
  {%- if message.role == 'tool' -%}
    {%- set content = '<|tool_response_start|>' + content + '<|tool_response_end|>' -%}
  {%- endif -%}
  {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}`;

const template = new ChatTemplate(source, byteTokenizer(), 'test');
const weather = { name: 'get_weather', parameters: { location: 'string' } };

it('has turns, the system prompt first, and asks for an answer', () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hello' },
  ];
  expect(template.render(messages)).toMatch(
    /<\|im_start\|>system\nBe brief\.<\|im_end\|>\n<\|im_start\|>user\nHello<\|im_end\|>\n<\|im_start\|>assistant\n$/,
  );
});

it('lists tools in the system prompt and wraps their results', () => {
  const messages = [
    { role: 'user', content: 'Weather?' },
    { role: 'assistant', content: '<|tool_call_start|>[get_weather(location="Paris")]<|tool_call_end|>' },
    { role: 'tool', content: '{"celsius": 20}' },
  ];
  const text = template.render(messages, { tools: [weather, weather] });
  const listed = JSON.stringify(weather).replaceAll(':', ': ').replaceAll(',', ', ');
  expect(text).toContain(`system\nList of tools: <|tool_list_start|>[${listed}, ${listed}]<|tool_list_end|><|im_end|>`);
  expect(text).toContain('<|im_start|>tool\n<|tool_response_start|>{"celsius": 20}<|tool_response_end|><|im_end|>\n');
});
