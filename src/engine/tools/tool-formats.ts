/** All formats of calls, and the rule that chooses one. */
import { LinnetError } from '../../errors.ts';
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';
import { jsonArguments, pythonArguments, tagArguments } from './argument-styles.ts';
import type { ToolFormat } from './tool-format.ts';

const example = '{"tool_calls": [{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}]}';

/** Models whose template knows no functions: a system message describes them, and a JSON object is the answer that calls. */
const plainFormat: ToolFormat = {
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

/** In the order in which they are recognized: signs of later ones may stand in templates of earlier ones. */
const recognized: readonly ToolFormat[] = [
  /** LFM2: a list of calls in Python's syntax. */
  {
    name: 'lfm2',
    signs: ['<|tool_list_start|>'],
    open: '<|tool_call_start|>[',
    call: ['', '(', ')'],
    between: ', ',
    close: ']<|tool_call_end|>',
    style: pythonArguments,
    control: ['<|tool_call_start|>', '<|tool_call_end|>'],
  },
  /** Qwen 3.5 and Qwen3-Coder: functions and parameters as tags. */
  {
    name: 'qwen3.5',
    signs: ['<tool_call>', '<function=', '<parameter='],
    open: '<tool_call>\n',
    call: ['<function=', '>\n', '</function>'],
    between: '\n</tool_call>\n<tool_call>\n',
    close: '\n</tool_call>',
    style: tagArguments,
    control: ['<tool_call>', '</tool_call>'],
  },
  /** Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3. */
  {
    name: 'hermes',
    signs: ['<tool_call>'],
    open: '<tool_call>\n',
    call: ['{"name": "', '", "arguments": ', '}'],
    between: '\n</tool_call>\n<tool_call>\n',
    close: '\n</tool_call>',
    style: jsonArguments,
    control: ['<tool_call>', '</tool_call>'],
  },
  /** Mistral 7B v0.3, Nemo, Small: a JSON list after a control token. */
  {
    name: 'mistral',
    signs: ['[TOOL_CALLS]'],
    open: '[TOOL_CALLS] [',
    call: ['{"name": "', '", "arguments": ', '}'],
    between: ', ',
    close: ']',
    style: jsonArguments,
    control: ['[TOOL_CALLS]'],
  },
  /** Granite 3: a JSON list after a control token. */
  {
    name: 'granite',
    signs: ['<|tool_call|>'],
    open: '<|tool_call|>[',
    call: ['{"name": "', '", "arguments": ', '}'],
    between: ', ',
    close: ']',
    style: jsonArguments,
    control: ['<|tool_call|>'],
  },
  /** Llama 3.1 to 3.3: one call is the whole answer. */
  {
    name: 'llama3',
    signs: ['<|start_header_id|>', '"parameters": '],
    open: '',
    call: ['{"name": "', '", "parameters": ', '}'],
    between: undefined,
    close: '',
    style: jsonArguments,
    isWhole: true,
    control: [],
  },
];

export const toolFormats: readonly ToolFormat[] = [...recognized, plainFormat];

/** The format of a chat template: `plain-json` where it is none that is known. */
export function toolFormatOf(template: Pick<ChatTemplate, 'has'>): ToolFormat {
  const known = recognized.find(({ signs }) => signs.every((sign) => template.has(sign)));
  return known ?? plainFormat;
}

/** @throws LinnetError `CONFIG` for a name that no format has */
export function toolFormatNamed(name: string): ToolFormat {
  const format = toolFormats.find((one) => one.name === name);
  if (format !== undefined) return format;
  const names = toolFormats.map((one) => one.name).join(', ');
  throw new LinnetError('CONFIG', `there is no tool format "${name.slice(0, 40)}"; there are ${names}`);
}
