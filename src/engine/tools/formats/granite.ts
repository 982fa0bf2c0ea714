/** Granite 3: a JSON list after a control token. */
import { jsonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const granite: ToolFormat = {
  name: 'granite',
  signs: ['<|tool_call|>'],
  open: '<|tool_call|>[',
  call: ['{"name": "', '", "arguments": ', '}'],
  between: ', ',
  close: ']',
  style: jsonArguments,
  control: ['<|tool_call|>'],
};
