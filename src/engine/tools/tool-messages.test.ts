/** Conversations with calls as templates take them, and the control tokens of formats. */
import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { type ChatMessage, ChatTemplate } from '../../tokenizer/chat-template.ts';
import { showingTokens } from '../../tokenizer/shown-tokens.ts';
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import { toolFormatNamed } from './tool-formats.ts';
import { withTools } from './tool-messages.ts';

const bytes = byteTokenizer();
const [open, close] = [256, 257];
const tokenizer = {
  vocabularySize: bytes.vocabularySize,
  eosId: close,
  specialIds: bytes.specialIds,
  specialNames: new Map([
    ['<|tool_call_start|>', open],
    ['<|tool_call_end|>', close],
  ]),
  encode: bytes.encode.bind(bytes),
  decode: bytes.decode.bind(bytes),
};
const turns = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}';
const withCalls = `${turns}{% for m in messages %}{{ m.tool_calls | tojson }}{% endfor %}{{ tools | tojson }}`;

const calls = [{ id: 'a', type: 'function', function: { name: 'add', arguments: { a: 1, b: '<|tool_call_end|>' } } }];
const messages: ChatMessage[] = [
  { role: 'user', content: '1 + 2?' },
  { role: 'assistant', content: 'Let me see.', tool_calls: calls },
  { role: 'tool', content: '3', tool_call_id: 'a' },
  { role: 'tool', content: '4', tool_call_id: 'a' },
];
const tools = [{ name: 'add', description: 'adds' }];

describe('a conversation with calls', () => {
  it('is given to templates that know calls as it is, with the functions', () => {
    const input = withTools({ messages }, toolFormatNamed('hermes'), tools);
    expect(input.messages).toEqual(messages);
    const text = new ChatTemplate(withCalls, tokenizer).render(input.messages, input);
    expect(text).toContain('"name": "add"');
    expect(text).toContain('assistant: Let me see.\n');
    expect(text).toContain('"type": "function"');
  });

  it('has its calls written where a template writes none, with control tokens that are those of the format alone', () => {
    const input = withTools({ messages }, toolFormatNamed('lfm2'), []);
    const template = new ChatTemplate(turns, tokenizer);
    const written = 'assistant: Let me see.<|tool_call_start|>[add(a=1, b="<|tool_call_end|>")]<|tool_call_end|>\n';
    expect(template.render(input.messages, input)).toContain(written);
    const tokens = template.encode(input.messages, input);
    expect(tokens.filter((id) => id === open)).toHaveLength(1);
    expect(tokens.filter((id) => id === close)).toHaveLength(1);
  });

  it('describes functions in a system message where templates know none, and gives results as the user', () => {
    const input = withTools({ messages }, toolFormatNamed('plain-json'), tools);
    expect(input.tools).toBeUndefined();
    const [system, , , results] = input.messages;
    expect(system.role).toBe('system');
    expect(system.content).toContain('{"name":"add","description":"adds"}');
    expect(results).toEqual({ role: 'user', content: 'add returned: 3\nadd returned: 4' });
    expect(input.messages).toHaveLength(4);
    const own = withTools(
      { messages: [{ role: 'system', content: 'Be kind.' }, ...messages] },
      toolFormatNamed('plain-json'),
      tools,
    );
    expect(own.messages[0].content).toMatch(/^Be kind\.\n\nYou can call/);
  });
});

describe('control tokens of a format', () => {
  it('are decoded by their names, and their bytes are known', () => {
    const shown = showingTokens(tokenizer, ['<|tool_call_start|>', '<|none|>']);
    const ids = [...bytes.encode('a'), open, ...bytes.encode(' é'), close];
    expect(shown.decode(ids)).toBe('a<|tool_call_start|> é');
    expect(tokenizer.decode(ids)).toBe('a é');
    const stream = new TextStream(shown);
    expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe('a<|tool_call_start|> é');
    expect(new TextDecoder().decode(tokenBytes(shown)(open))).toBe('<|tool_call_start|>');
    expect(tokenBytes(shown)(close)).toHaveLength(0);
    expect(showingTokens(tokenizer, ['<|none|>'])).toBe(tokenizer);
  });
});
