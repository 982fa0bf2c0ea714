/** Conversations in the form of Granite 4, with tools: written from the description of its template, not copied. */
import { expect, it } from 'vitest';
import { byteTokenizer } from './bytes.ts';
import { ChatTemplate } from './chat-template.ts';

const source = `{%- macro turn(role, content) -%}
  {{- '<|start_of_role|>' + role + '<|end_of_role|>' + content + '<|end_of_text|>\\n' -}}
{%- endmacro -%}
{%- set ns = namespace(system='') -%}
{%- if messages[0].role == 'system' -%}
  {%- set ns.system = messages[0].content -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
  {%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + 'You may call these tools:\\n<tools>' -%}
  {%- for tool in tools -%}{%- set ns.system = ns.system + '\\n' + (tool | tojson) -%}{%- endfor -%}
  {%- set ns.system = ns.system + '\\n</tools>\\nA call is JSON within <tool_call></tool_call>.' -%}
{%- endif -%}
{%- if ns.system -%}{{- turn('system', ns.system) -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {{- turn('user', '<tool_response>\\n' + message.content + '\\n</tool_response>') -}}
  {%- else -%}
    {{- turn(message.role, message.content) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}{%- endif -%}`;

const template = new ChatTemplate(source, byteTokenizer(), 'test');
const weather = { name: 'get_weather', parameters: { location: 'string' } };

it('has turns, the system prompt first, and asks for an answer', () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hello' },
  ];
  expect(template.render(messages)).toBe(
    '<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hello<|end_of_text|>\n' +
      '<|start_of_role|>assistant<|end_of_role|>',
  );
});

it('lists tools in the system prompt, wraps their results, and has the sign of its form of calls', () => {
  const call = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Paris"}}\n</tool_call>';
  const messages = [
    { role: 'user', content: 'Weather?' },
    { role: 'assistant', content: call },
    { role: 'tool', content: '{"celsius": 20}' },
  ];
  const text = template.render(messages, { tools: [weather] });
  expect(text).toMatch(
    /^<\|start_of_role\|>system<\|end_of_role\|>You may call these tools:\n<tools>\n\{"name": "get_weather"/,
  );
  expect(text).toContain(`assistant<|end_of_role|>${call}<|end_of_text|>`);
  expect(text).toContain('user<|end_of_role|><tool_response>\n{"celsius": 20}\n</tool_response><|end_of_text|>');
  expect(template.has('<tool_call>')).toBe(true);
});
