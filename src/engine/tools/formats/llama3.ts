/** Llama 3.1 to 3.3: one call is the whole answer. */
import { jsonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

export const llama3: ToolFormat = {
  name: 'llama3',
  signs: ['<|start_header_id|>', '"parameters": '],
  open: '',
  call: ['{"name": "', '", "parameters": ', '}'],
  between: undefined,
  close: '',
  style: jsonArguments,
  isWhole: true,
  control: [],
};
