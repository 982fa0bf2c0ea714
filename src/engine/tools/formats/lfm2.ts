/** LFM2: a list of calls in Python's syntax. */
import { pythonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const lfm2: ToolFormat = {
  name: 'lfm2',
  signs: ['<|tool_list_start|>'],
  open: '<|tool_call_start|>[',
  call: ['', '(', ')'],
  between: ', ',
  close: ']<|tool_call_end|>',
  style: pythonArguments,
  control: ['<|tool_call_start|>', '<|tool_call_end|>'],
};
