/** Models whose template knows no functions: a system message describes them, and a JSON object is the answer that calls. */
import { jsonArguments } from '../argument-styles.ts';
import type { ToolFormat } from '../tool-format.ts';

const example = '{"tool_calls": [{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}]}';

export const plainFormat: ToolFormat = {
  name: 'plain-json',
  signs: ['{"tool_calls": ['],
  open: '{"tool_calls": [',
  call: ['{"name": "', '", "arguments": ', '}'],
  between: ', ',
  close: ']}',
  style: jsonArguments,
  isWhole: true,
  control: [],
  instructions: (tools) =>
    [
      'You can call these functions:',
      ...tools.map((tool) => JSON.stringify(tool)),
      `To call functions, answer with nothing but JSON of this form: ${example}`,
    ].join('\n'),
};
