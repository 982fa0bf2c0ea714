/** Models' formats for thoughts before an answer, as data, and the rule that chooses one by chat template. */
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';

/** Thoughts stand between two marks. */
export interface ThinkingFormat {
  readonly name: string;
  readonly open: string;
  readonly close: string;
  /** A word on the opening mark's line that is not part of the thoughts. */
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

/** The format of a template's thoughts; undefined for a model without thoughts. */
export function thinkingFormatOf(template: Pick<ChatTemplate, 'has'> | undefined): ThinkingFormat | undefined {
  return formats.find(({ open, close }) => template?.has(open) === true && template.has(close));
}

/** Whether a prompt ends inside thoughts that its template began. @param ending its last tokens' text */
export function endsInThoughts({ open, label = '' }: ThinkingFormat, ending: string): boolean {
  const end = ending.trimEnd();
  return end.endsWith(open) || (label !== '' && end.endsWith(open + label));
}
