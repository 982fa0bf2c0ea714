/**
 * Writes docs/notes/agents.md: function-calling loops by three clients against the repository's tiny model. Its answers
 * make no sense, but its calls are valid and their results go back.
 *
 *     npx tsx scripts/agent-transcripts.ts
 */
import { fileURLToPath } from 'node:url';
import { generateText, type JSONSchema7, jsonSchema, type ModelMessage, stepCountIs, tool } from 'ai';
import OpenAI from 'openai';
import { pino } from 'pino';
import { linnet } from '../src/ai-sdk/index.ts';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { open } from '../src/open/index.ts';
import { startServer } from '../src/serving/server.ts';
import { agentLoop, mcpTools, type Toolbox } from '../test/serving/agent-loop.ts';

const folder = fileURLToPath(new URL('../assets/tiny-llama', import.meta.url));
const out = fileURLToPath(new URL('../docs/notes/agents.md', import.meta.url));
const chatTemplate =
  "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content + eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
const question = 'What is the weather in Oslo?';
const parameters: JSONSchema7 = {
  type: 'object',
  properties: {
    city: { type: 'string', enum: ['Oslo', 'Nantucket'] },
    days: { type: 'integer', minimum: 1, maximum: 9 },
  },
  required: ['city', 'days'],
  additionalProperties: false,
};
const own: Toolbox = {
  tools: [
    {
      type: 'function',
      function: { name: 'weather', description: 'The weather of some days', parameters: { ...parameters } },
    },
  ],
  call: (_, { city, days }) => Promise.resolve(`${String(city)}: sunny for ${String(days)} days`),
};

function line(role: string, text: string): string {
  const plain = text.replaceAll(/\s+/g, ' ').trim();
  return `${role.padEnd(9)} ${plain.length > 100 ? `${plain.slice(0, 100)}…` : plain}`;
}

function chatLines(messages: readonly OpenAI.ChatCompletionMessageParam[]): string[] {
  return messages.flatMap((message) => {
    const calls = message.role === 'assistant' ? (message.tool_calls ?? []) : [];
    const lines = calls.flatMap((call) => {
      return call.type === 'function' ? [line('assistant', `→ ${call.function.name} ${call.function.arguments}`)] : [];
    });
    return typeof message.content === 'string' && message.content !== ''
      ? [line(message.role, message.content), ...lines]
      : lines;
  });
}

function sdkLines(messages: readonly ModelMessage[]): string[] {
  return messages.flatMap(({ role, content }) => {
    if (typeof content === 'string') return [line(role, content)];
    return content.flatMap((part) => {
      if (part.type === 'tool-call') return [line(role, `→ ${part.toolName} ${JSON.stringify(part.input)}`)];
      if (part.type === 'tool-result') return [line(role, JSON.stringify(part.output))];
      return part.type === 'text' && part.text !== '' ? [line(role, part.text)] : [];
    });
  });
}

async function aiSdkLoop(): Promise<string[]> {
  await using model = linnet(folder, { chatTemplate, threads: 1 });
  const execute = (args: Record<string, unknown>) => own.call('weather', args);
  const weather = tool({ inputSchema: jsonSchema<Record<string, unknown>>(parameters), execute });
  const { response } = await generateText({
    ...{ model, prompt: question, tools: { weather }, temperature: 0, maxOutputTokens: 400 },
    providerOptions: { linnet: { parallelToolCalls: false } },
    stopWhen: stepCountIs(3),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber < 2 ? 'required' : 'none' }),
  });
  return [line('user', question), ...sdkLines(response.messages)];
}

await using model = await open(folder, { name: 'tiny', chatTemplate, threads: 1 });
const server = await startServer(model, { http: { port: 0, log: pino({ level: 'silent' }) } });
const client = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1` });
await using toolbox = await mcpTools();
const loops = {
  'The `openai` client, functions of its own': chatLines(await agentLoop(client, own, question, 3)),
  'The AI SDK, in process (`linnet/ai-sdk`)': await aiSdkLoop(),
  'The `openai` client, tools of an MCP server': chatLines(await agentLoop(client, toolbox, question, 3)),
};
await server.drain();
const text = Object.entries(loops).map(([title, lines]) => `## ${title}\n\n\`\`\`text\n${lines.join('\n')}\n\`\`\`\n`);
const head =
  '# Loops over functions\n\nThree steps each: two answers that must call, one that may not. The model is `assets/tiny-llama`, which knows ' +
  'nothing: its calls are valid by the grammar alone. Made by `npx tsx scripts/agent-transcripts.ts`.\n';
await writeFileAtomic(out, [head, ...text].join('\n'));
