/**
 * A loop over tools with the AI SDK, in process: the model may only answer with a call, and the call is valid by construction. The
 * model that comes with the package is far too small to choose well: the format is right, the choice is chance.
 *
 *     npx tsx examples/agent.ts [MODEL]
 */
import { generateText, jsonSchema, stepCountIs, tool } from 'ai';
import { linnet } from 'linnet/ai-sdk';

const chatTemplate = '{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:';
const model = linnet(process.argv[2] ?? 'linnet:tiny-llama', { chatTemplate });

const lookUp = tool({
  description: 'Looks up a chapter of the book',
  inputSchema: jsonSchema<{ readonly chapter: number }>({
    type: 'object',
    properties: { chapter: { type: 'integer', minimum: 1, maximum: 135 } },
    required: ['chapter'],
  }),
  execute: ({ chapter }) => `Chapter ${chapter} is about a whale.`,
});

const { steps } = await generateText({
  model,
  ...{
    prompt: 'Which chapter is about the whale?',
    tools: { lookUp },
    toolChoice: 'required',
    temperature: 0.7,
    seed: 1,
  },
  ...{ stopWhen: stepCountIs(3), providerOptions: { linnet: { parallelToolCalls: false } } },
});
for (const { toolCalls, toolResults, usage } of steps) {
  const { cacheReadTokens = 0 } = usage.inputTokenDetails;
  console.log(
    JSON.stringify(toolCalls.map(({ input }) => input)),
    toolResults[0]?.output,
    `${cacheReadTokens} tokens known`,
  );
}
await model[Symbol.asyncDispose]();
