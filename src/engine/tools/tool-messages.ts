/** Conversations with functions, in the form a model's chat template takes. */
import { checkJsonLimits, isJsonObject } from '../../files/json-object.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import type { MessagesInput } from '../prompt.ts';
import { type ToolFormat, type ToolFunction, writeCalls } from './tool-formats.ts';

/**
 * A conversation with calls made and functions to call. If the template knows no functions, a system message describes them,
 * and their results are user messages.
 * @param tools those that may be called now; usually empty if none may
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

/** An earlier message's thoughts, under the names that templates look for. */
export function toldThoughts(thoughts = ''): Pick<ChatMessage, 'reasoning_content' | 'thinking'> {
  return thoughts === '' ? {} : { reasoning_content: thoughts, thinking: thoughts };
}

/**
 * A message's call, with its arguments as an object, which templates write as JSON.
 * @param made its arguments are JSON, or empty for none
 */
export function templateCall({ id, name, arguments: given }: { id: string; name: string; arguments: string }) {
  const json = given.trim() === '' ? '{}' : given;
  let value: unknown = json;
  try {
    checkJsonLimits(new TextEncoder().encode(json), 'a call', { depth: 32 });
    value = JSON.parse(json);
  } catch {
    // A call that was cut short, or is not a call, stays text.
  }
  return { id, type: 'function', function: { name, arguments: value } };
}

/** A message's call in the API's form. */
function callOf(made: unknown): { name: string; arguments: string } {
  const called = isJsonObject(made) && isJsonObject(made.function) ? made.function : {};
  const { name, arguments: given } = called;
  return { name: String(name), arguments: typeof given === 'string' ? given : JSON.stringify(given ?? {}) };
}

/** Turns function results into user messages: consecutive results become one message. */
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
