/** Messages of chats, and the template that makes a prompt of them. */
import { z } from 'zod';
import { preparePrompt, type MessagesInput, type Prompt } from '../../engine/prompt.ts';
import type { ChatMessage, ChatTemplate } from '../../tokenizer/chat-template.ts';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import { refuse } from './api-error.ts';
import type { Serving, TokenServing } from './request-context.ts';
import { maybe } from './request-fields.ts';

const textPart = z.object({
  type: z.literal('text', { error: 'only parts of type "text" are supported' }),
  text: z.string(),
});

export const messageSchema = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.union([z.string(), z.array(textPart).max(1024)], { error: 'expected a text, or parts of type "text"' }),
  name: maybe(z.string().max(64)),
  tool_calls: maybe(z.array(z.unknown()).max(0, { error: 'calls of tools are not supported' })),
});

/** The template. @throws ApiError for a model without one */
export function templateOf({ model }: TokenServing): ChatTemplate {
  if (model.template !== undefined) return model.template;
  return refuse(
    'the model has no chat template: use /v1/completions, or start the server with --chat-template',
    'messages',
  );
}

interface SentMessage {
  readonly role: string;
  readonly content: string | readonly { readonly text: string }[];
  readonly name?: string | undefined;
}

/** Messages as templates know them. */
export function chatMessages(messages: readonly SentMessage[]): ChatMessage[] {
  return messages.map(({ role, content, name }) => ({
    // The newer name of the same thing, which templates do not know.
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map(({ text }) => text).join(''),
    ...(name !== undefined && { name }),
  }));
}

/** The prompt of a conversation. @throws ApiError for a model without a template; LinnetError as `preparePrompt` */
export async function chatPrompt(serving: Serving, input: MessagesInput, signal: AbortSignal): Promise<Prompt> {
  templateOf(serving);
  return await whenEncoded(() => preparePrompt(serving.model, input), signal);
}
