/** Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3. */
import { jsonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const hermes: ToolFormat = {
  name: 'hermes',
  signs: ['<tool_call>'],
  open: '<tool_call>\n',
  call: ['{"name": "', '", "arguments": ', '}'],
  between: '\n</tool_call>\n<tool_call>\n',
  close: '\n</tool_call>',
  style: jsonArguments,
  control: ['<tool_call>', '</tool_call>'],
};
