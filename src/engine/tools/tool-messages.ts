/** Conversations with functions, as the chat template of a model takes them. */
import { checkJsonLimits, isJsonObject } from '../../files/json-object.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import type { MessagesInput } from '../prompt.ts';
import { type ToolFormat, type ToolFunction, writeCalls } from './tool-formats.ts';

/**
 * A conversation in which calls were made, and functions may be called. Where the template knows no functions, a system message
 * describes them, and their results are messages of the user.
 * @param tools those that may be called now; commonly empty where none may
 */
export function withTools(input: MessagesInput, format: ToolFormat, tools: readonly ToolFunction[]): MessagesInput {
  const calls = (made: readonly unknown[]): string => writeCalls(format, made.map(callOf));
  if (format.instructions === undefined) {
    const known = tools.length === 0 ? {} : { tools: tools.map((tool) => ({ type: 'function', function: tool })) };
    return { ...input, calls, ...known };
  }
  const messages = resultsAsUser(input.messages);
  if (tools.length === 0) return { ...input, calls, messages };
  const [first, ...rest] = messages;
  const described = format.instructions(tools);
  const said =
    first?.role === 'system'
      ? [{ ...first, parts: undefined, content: `${first.content}\n\n${described}` }, ...rest]
      : [{ role: 'system', content: described }, ...messages];
  return { ...input, calls, messages: said };
}

/** Thoughts of a message that is told again, as templates look for them. */
export function toldThoughts(thoughts = ''): Pick<ChatMessage, 'reasoning_content' | 'thinking'> {
  return thoughts === '' ? {} : { reasoning_content: thoughts, thinking: thoughts };
}

/** A call of a message, its arguments as an object, which templates write as JSON. @param made its arguments are JSON */
export function templateCall({ id, name, arguments: json }: { id: string; name: string; arguments: string }) {
  let value: unknown = json;
  try {
    checkJsonLimits(new TextEncoder().encode(json), 'a call', { depth: 32 });
    value = JSON.parse(json);
  } catch {
    // A call that was cut short, or is no call, stays the text that it is.
  }
  return { id, type: 'function', function: { name, arguments: value } };
}

/** A call of a message, as the API has it. */
function callOf(made: unknown): { name: string; arguments: string } {
  const called = isJsonObject(made) && isJsonObject(made.function) ? made.function : {};
  const { name, arguments: given } = called;
  return { name: String(name), arguments: typeof given === 'string' ? given : JSON.stringify(given ?? {}) };
}

/** Messages in which results of functions are the user's: results that follow each other are one message. */
function resultsAsUser(messages: readonly ChatMessage[]): ChatMessage[] {
  const names = new Map<string, string>();
  const result: ChatMessage[] = [];
  for (const [index, message] of messages.entries()) {
    for (const made of message.tool_calls ?? []) {
      if (isJsonObject(made) && typeof made.id === 'string') names.set(made.id, callOf(made).name);
    }
    if (message.role !== 'tool') {
      result.push(message);
      continue;
    }
    const name = message.name ?? names.get(message.tool_call_id ?? '') ?? 'the function';
    const content = `${name} returned: ${message.content}`;
    const last = messages[index - 1]?.role === 'tool' ? result.pop() : undefined;
    result.push({ role: 'user', content: last === undefined ? content : `${last.content}\n${content}` });
  }
  return result;
}
