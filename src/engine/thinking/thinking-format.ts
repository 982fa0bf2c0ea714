/** How models write their thoughts before an answer, as data, and the rule that chooses a form by the chat template. */
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';

/** Thoughts stand between two marks. */
export interface ThinkingFormat {
  readonly name: string;
  readonly open: string;
  readonly close: string;
  /** A word after the opening mark, on a line of its own, that is no thought. */
  readonly label?: string;
  /** Whether the marks are control tokens, which mean the same anywhere in an answer. Default: thoughts come first or not at all. */
  readonly isAnywhere?: boolean;
}

const formats: readonly ThinkingFormat[] = [
  /** Gemma 4. */
  { name: 'channel', open: '<|channel>', close: '<channel|>', label: 'thought', isAnywhere: true },
  /** Magistral, Ministral 3. */
  { name: 'mistral', open: '[THINK]', close: '[/THINK]', isAnywhere: true },
  /** Qwen3 and 3.5, QwQ, SmolLM3, LFM2.5, Granite 3.3. */
  { name: 'think', open: '<think>', close: '</think>' },
];

/** The form of a template's thoughts; undefined for a model that has none. */
export function thinkingFormatOf(template: Pick<ChatTemplate, 'has'> | undefined): ThinkingFormat | undefined {
  return formats.find(({ open, close }) => template?.has(open) === true && template.has(close));
}

/** Whether a prompt ends inside of thoughts, which its template has begun. @param ending the text of its last tokens */
export function endsInThoughts({ open, label = '' }: ThinkingFormat, ending: string): boolean {
  const end = ending.trimEnd();
  return end.endsWith(open) || (label !== '' && end.endsWith(open + label));
}
