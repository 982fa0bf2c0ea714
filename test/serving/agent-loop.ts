/** Loops in which a served model calls functions by the `openai` client, and functions of an MCP server for them. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type OpenAI from 'openai';
import { z } from 'zod';

/** Functions, as requests describe them, and how they are called. */
export interface Toolbox {
  readonly tools: readonly OpenAI.ChatCompletionFunctionTool[];
  readonly call: (name: string, args: Record<string, unknown>) => Promise<string>;
}

/** @param steps answers; the last one may not call, the others must @returns the conversation */
export async function agentLoop(
  client: OpenAI,
  { tools, call }: Toolbox,
  question: string,
  steps: number,
): Promise<OpenAI.ChatCompletionMessageParam[]> {
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: question }];
  for (let step = 1; step <= steps; step++) {
    const answer = await client.chat.completions.create({
      model: 'tiny',
      messages,
      tools: [...tools],
      tool_choice: step < steps ? 'required' : 'none',
      parallel_tool_calls: false,
      temperature: 0,
      max_completion_tokens: step < steps ? 400 : 40,
    });
    const [{ message }] = answer.choices;
    messages.push(message);
    for (const made of message.tool_calls ?? []) {
      if (made.type !== 'function') throw new Error('a call of no function');
      const args: unknown = JSON.parse(made.function.arguments);
      const content = await call(made.function.name, z.record(z.string(), z.unknown()).parse(args));
      messages.push({ role: 'tool', tool_call_id: made.id, content });
    }
  }
  return messages;
}

const weather = { city: z.enum(['Oslo', 'Nantucket']), days: z.int().min(1).max(9) };

/** An MCP server in this process, and a client that is connected with it. */
export async function mcpTools(): Promise<Toolbox & AsyncDisposable> {
  const server = new McpServer({ name: 'weather', version: '1.0.0' });
  server.registerTool(
    'weather',
    { description: 'The weather of some days', inputSchema: weather },
    ({ city, days }) => {
      return { content: [{ type: 'text', text: `${city}: sunny for ${days} days` }] };
    },
  );
  server.registerTool('sea', { description: 'Whether ships sail' }, () => {
    return { content: [{ type: 'text', text: 'they sail' }] };
  });
  const client = new Client({ name: 'linnet', version: '1.0.0' });
  const [here, there] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(there), client.connect(here)]);
  const { tools } = await client.listTools();
  return {
    tools: tools.map(({ name, description, inputSchema: parameters }) => {
      return { type: 'function', function: { name, description, parameters } };
    }),
    async call(name, args) {
      const result = await client.callTool({ name, arguments: args });
      const { content, isError = false } = z
        .object({
          content: z.array(z.object({ type: z.literal('text'), text: z.string() })),
          isError: z.boolean().optional(),
        })
        .parse(result);
      if (isError) throw new Error(`the MCP server refused a call: ${content[0]?.text}`);
      return content.map(({ text }) => text).join('\n');
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
