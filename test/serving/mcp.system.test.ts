/** Tools of an MCP server, which a served model calls: the clients of MCP and OpenAI, unmodified. */
import { expect, it, onTestFinished } from 'vitest';
import { agentLoop, mcpTools } from './agent-loop.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

it.each([undefined, 'hermes', 'qwen3.5'])(
  'a loop of three steps over MCP tools ends: %s',
  async (toolFormat) => {
    const model = await openTiny(chatTemplate);
    onTestFinished(() => model[Symbol.asyncDispose]());
    const { client } = await serve(model, { toolFormat });
    await using toolbox = await mcpTools();
    expect(toolbox.tools.map((tool) => tool.function.name)).toEqual(['weather', 'sea']);
    const messages = await agentLoop(client, toolbox, 'What is the weather in Oslo?', 3);
    // The MCP server checks arguments by its own schemas, and an error of its would have ended the loop.
    const results = messages.filter(({ role }) => role === 'tool').map(({ content }) => content);
    expect(results).toHaveLength(2);
    for (const result of results) expect(result).toMatch(/^((Oslo|Nantucket): sunny for [1-9] days|they sail)$/);
    const last = messages.at(-1);
    expect(last).toMatchObject({ role: 'assistant', content: expect.stringMatching(/./s) as unknown });
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'tool', 'assistant']);
  },
  120_000,
);
