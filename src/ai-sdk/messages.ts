/** Prompts of the AI SDK as messages of a chat. */
import type { LanguageModelV3Message, LanguageModelV3ToolResultPart } from '@ai-sdk/provider';
import { LinnetError } from '../errors.ts';
import type { ChatMessage } from '../tokenizer/chat-template.ts';

/** @throws LinnetError `INPUT` for files, which no model here reads */
export function chatMessagesOf(prompt: readonly LanguageModelV3Message[]): ChatMessage[] {
  return prompt.flatMap((message): ChatMessage[] => {
    if (message.role === 'system') return [{ role: 'system', content: message.content }];
    if (message.role === 'tool') {
      return message.content.flatMap((part) => (part.type === 'tool-result' ? [resultMessage(part)] : []));
    }
    let content = '';
    const calls: object[] = [];
    for (const part of message.content) {
      if (part.type === 'text') content += part.text;
      else if (part.type === 'tool-call') {
        calls.push({ id: part.toolCallId, type: 'function', function: { name: part.toolName, arguments: part.input } });
      } else if (part.type === 'file')
        throw new LinnetError('INPUT', `the model reads no files, as of ${part.mediaType}`);
    }
    return [{ role: message.role, content, ...(calls.length > 0 && { tool_calls: calls }) }];
  });
}

function resultMessage({ toolCallId, toolName, output }: LanguageModelV3ToolResultPart): ChatMessage {
  return { role: 'tool', name: toolName, tool_call_id: toolCallId, content: resultText(output) };
}

function resultText(output: LanguageModelV3ToolResultPart['output']): string {
  if (output.type === 'text' || output.type === 'error-text') return output.value;
  if (output.type === 'json' || output.type === 'error-json') return JSON.stringify(output.value);
  if (output.type === 'execution-denied') return output.reason ?? 'the call was not allowed';
  return output.value.map((part) => (part.type === 'text' ? part.text : `[${part.type}]`)).join('');
}
