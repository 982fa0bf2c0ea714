/** Qwen 3.5 and Qwen3-Coder: functions and parameters as tags. */
import { tagArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const qwen35: ToolFormat = {
  name: 'qwen3.5',
  signs: ['<tool_call>', '<function=', '<parameter='],
  open: '<tool_call>\n',
  call: ['<function=', '>\n', '</function>'],
  between: '\n</tool_call>\n<tool_call>\n',
  close: '\n</tool_call>',
  style: tagArguments,
  control: ['<tool_call>', '</tool_call>'],
};
