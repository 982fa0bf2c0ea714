/** Mistral 7B v0.3, Nemo, Small: a JSON list after a control token. */
import { jsonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const mistral: ToolFormat = {
  name: 'mistral',
  signs: ['[TOOL_CALLS]'],
  open: '[TOOL_CALLS] [',
  call: ['{"name": "', '", "arguments": ', '}'],
  between: ', ',
  close: ']',
  style: jsonArguments,
  control: ['[TOOL_CALLS]'],
};
