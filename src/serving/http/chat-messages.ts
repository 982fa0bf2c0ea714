/** Messages of chats, and the template that makes a prompt of them. */
import type { MadeCall } from '../../engine/tools/call-reader.ts';
import { z } from 'zod';
import type { MessagesInput } from '../../engine/prompt.ts';
import type { ToolFunction } from '../../engine/tools/tool-formats.ts';
import { templateCall, toldThoughts, withTools } from '../../engine/tools/tool-messages.ts';
import type { ChatMessage, ChatTemplate } from '../../tokenizer/chat-template.ts';
import type { ServerLimits } from './limits.ts';
import type { Serving, TokenServing } from './request-context.ts';
import { functionFields } from './dialects/tool-fields.ts';
import { callText, maybe, optionalText, refuse } from './request-fields.ts';

const textPart = z.object({
  type: z.literal('text', { error: 'only parts of type "text" are supported' }),
  text: z.string(),
});

const content = z.union([z.string(), z.array(textPart).max(1024)], {
  error: 'expected a text, or parts of type "text"; images and other files are not supported',
});

const madeCall = z.object({
  id: callText,
  type: maybe(z.literal('function')),
  function: z.object({ name: callText, arguments: z.string() }),
});

const variableValue = z.union([z.string().max(4096), z.number(), z.boolean(), z.null()]);

/** A function in the shape of chats. */
export const chatTool = z.object({ type: z.literal('function'), function: z.object(functionFields) });

/** Variables of the model's own template. */
export const templateVariables = maybe(z.record(z.string().max(64), variableValue));

const messageSchema = z
  .object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: maybe(content),
    name: maybe(z.string().max(64)),
    reasoning_content: optionalText,
    tool_calls: maybe(z.array(madeCall).max(128)),
    tool_call_id: maybe(callText),
  })
  .refine(
    // An answer may end among its thoughts.
    ({ content, reasoning_content: thoughts, tool_calls: calls }) => (content ?? thoughts ?? calls?.[0]) !== undefined,
    { error: 'expected a text, or parts of type "text"', path: ['content'] },
  );

/** The messages of a request, at least one. */
export function messagesField(limits: ServerLimits) {
  return z.array(messageSchema).min(1).max(limits.messages);
}

/** The template. @throws ApiError for a model without one */
export function templateOf({ model }: TokenServing): ChatTemplate {
  if (model.template !== undefined) return model.template;
  return refuse(
    'the model has no chat template: use /v1/completions, or start the server with --chat-template',
    'messages',
  );
}

/** A message as clients send it. */
export type SentMessage = Partial<
  Pick<z.output<typeof messageSchema>, 'name' | 'reasoning_content' | 'tool_calls' | 'tool_call_id'>
> & {
  readonly role: string;
  readonly content?: string | readonly { readonly text: string }[] | undefined;
};

/** Messages as templates know them. */
export function chatMessages(messages: readonly SentMessage[]): ChatMessage[] {
  return messages.map(({ role, content = '', name, reasoning_content: thoughts, tool_calls: calls, tool_call_id }) => ({
    // The newer name of the same thing, which templates do not know.
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map(({ text }) => text).join(''),
    ...(typeof content !== 'string' &&
      content.length > 1 && { parts: content.map(({ text }) => ({ type: 'text', text })) }),
    ...(name !== undefined && { name }),
    ...toldThoughts(thoughts),
    ...(tool_call_id !== undefined && { tool_call_id }),
    ...(calls !== undefined &&
      calls.length > 0 && { tool_calls: calls.map(({ id, function: called }) => templateCall({ id, ...called })) }),
  }));
}

/** A conversation as the template of the model takes it. @throws ApiError for a model without a template */
export function chatInput(serving: Serving, input: MessagesInput, tools: readonly ToolFunction[] = []): MessagesInput {
  templateOf(serving);
  return withTools(input, serving.calls.format, tools);
}

/** A call in the shape of chats. */
export function chatCall({ callId: id, name, json }: MadeCall) {
  return { id, type: 'function' as const, function: { name, arguments: json } };
}
