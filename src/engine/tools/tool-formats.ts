/** Models' formats for function calls, as data, and the rule that chooses one. */
import { LinnetError } from '../../errors.ts';
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';
import { type ArgumentStyle, jsonArguments } from './argument-styles.ts';
import { gemmaArguments, pythonArguments } from './literal-arguments.ts';
import { tagArguments } from './tag-arguments.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** Function names that every format can write. */
export const functionName = /^[a-zA-Z0-9_.-]{1,64}$/;

/** A function the model may call. */
export interface ToolFunction {
  /** Matches `functionName`. */
  readonly name: string;
  readonly description?: string;
  /** JSON schema of an object. Default: no parameters. */
  readonly parameters?: JsonObject;
}

/** `open`, then calls separated by `between`, then `close`; a call is `call[0]`, its name, `call[1]`, its arguments, `call[2]`. */
export interface ToolFormat {
  readonly name: string;
  /** Lists of texts: a chat template that writes such calls contains all texts of one list. */
  readonly signs: readonly (readonly string[])[];
  readonly open: string;
  readonly call: readonly [before: string, between: string, after: string];
  /** Undefined for formats with a single call. */
  readonly between: string | undefined;
  readonly close: string;
  /** The text between a name and the call's id of nine letters and digits, if the format has ids. */
  readonly callId?: string;
  readonly style: ArgumentStyle;
  /** Whether calls are the whole text, with nothing before them. */
  readonly isWhole?: boolean;
  /** The format's control tokens, which are part of its text; the first one opens calls. */
  readonly control: readonly string[];
  /** Control tokens that end calls. Default: none. */
  readonly closing?: readonly string[];
  /** The system message that describes functions, for templates without functions. */
  readonly instructions?: (tools: readonly ToolFunction[]) => string;
}

/** The text that distinguishes calls from other text, and the rest up to the first function's name. */
export function openingOf({ open, call: [before], control }: ToolFormat): { opening: string; rest: string } {
  const [opening = open === '' ? before : open] = control;
  return { opening, rest: (open + before).slice(opening.length) };
}

/** Calls as text in the format. @param call its arguments are JSON */
export function writeCalls(
  { open, call: [before, middle, after], between = '', close, callId, style }: ToolFormat,
  calls: readonly { readonly name: string; readonly arguments: string; readonly id?: string }[],
): string {
  const texts = calls.map(({ name, arguments: json, id }) => {
    const named = callId === undefined || id === undefined ? name : name + callId + id;
    return before + named + middle + style.write(json) + after;
  });
  return open + texts.join(between) + close;
}

const example = '{"tool_calls": [{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}]}';

const jsonCalls = {
  call: ['{"name": "', '", "arguments": ', '}'],
  style: jsonArguments,
} satisfies Partial<ToolFormat>;

const callsInTags = {
  open: '<tool_call>\n',
  between: '\n</tool_call>\n<tool_call>\n',
  close: '\n</tool_call>',
  control: ['<tool_call>', '</tool_call>'],
  closing: ['</tool_call>'],
} satisfies Partial<ToolFormat>;

/** For models whose template knows no functions: a system message describes them, and an answer calls with a JSON object. */
const plainFormat: ToolFormat = {
  ...jsonCalls,
  name: 'plain-json',
  signs: [['{"tool_calls": [']],
  open: '{"tool_calls": [',
  between: ', ',
  close: ']}',
  isWhole: true,
  control: [],
  instructions: (tools) =>
    [
      'You can call these functions:',
      ...tools.map((tool) => JSON.stringify(tool)),
      `To call functions, answer with nothing but JSON of this form: ${example}`,
    ].join('\n'),
};

/** A JSON list after a control token. */
function listAfter(name: string, token: string, { open = `${token}[`, sign = token } = {}): ToolFormat {
  return { ...jsonCalls, name, signs: [[sign]], open, between: ', ', close: ']', control: [token] };
}

/** Mistral since the end of 2024: each call after its own control token. */
function argumentsAfter(name: string, callId?: string): ToolFormat {
  const token = '[TOOL_CALLS]';
  return {
    name,
    signs: [[token, ...(callId === undefined ? [] : [callId]), '[ARGS]']],
    open: token,
    between: token,
    close: '',
    call: ['', '[ARGS]', ''],
    style: jsonArguments,
    callId,
    control: [token, ...(callId === undefined ? [] : [callId]), '[ARGS]'],
  };
}

/** Gemma: each call between two control tokens. @param quote marks strings */
function gemmaCalls(
  name: string,
  [open, close]: readonly [string, string],
  quote: string,
  ...others: string[]
): ToolFormat {
  return {
    name,
    signs: [[open]],
    open,
    between: close + open,
    close,
    control: [open, close, ...others, quote],
    call: ['call:', '{', '}'],
    style: gemmaArguments(quote),
    closing: [close, ...others],
  };
}

/** In order of recognition: templates of earlier formats may contain signs of later ones. */
const recognized: readonly ToolFormat[] = [
  /** LFM2 and LFM2.5: a list of calls in Python's syntax. */
  {
    name: 'lfm2',
    signs: [['<|tool_list_start|>'], ['<|tool_call_start|>'], ['List of tools: [']],
    open: '<|tool_call_start|>[',
    call: ['', '(', ')'],
    between: ', ',
    close: ']<|tool_call_end|>',
    style: pythonArguments(true),
    control: ['<|tool_call_start|>', '<|tool_call_end|>'],
    closing: ['<|tool_call_end|>'],
  },
  /** OLMo 3: calls in Python's syntax, one per line. */
  {
    name: 'olmo3',
    signs: [['<function_calls>']],
    open: '<function_calls>',
    call: ['', '(', ')'],
    between: '\n',
    close: '</function_calls>',
    style: pythonArguments(false),
    control: ['<function_calls>', '</function_calls>'],
    closing: ['</function_calls>'],
  },
  /** Qwen 3.5 and Qwen3-Coder: functions and parameters as tags. */
  {
    ...callsInTags,
    name: 'qwen3.5',
    signs: [['<tool_call>', '<function=', '<parameter=']],
    call: ['<function=', '>\n', '</function>'],
    style: tagArguments,
  },
  gemmaCalls('gemma4', ['<|tool_call>', '<tool_call|>'], '<|"|>', '<|tool_response>'),
  gemmaCalls('function-gemma', ['<start_function_call>', '<end_function_call>'], '<escape>'),
  /** Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3. */
  { ...callsInTags, ...jsonCalls, name: 'hermes', signs: [['<tool_call>']] },
  /** Mistral Small 3.2. */
  argumentsAfter('mistral-id', '[CALL_ID]'),
  /** Devstral, Ministral 3. */
  argumentsAfter('mistral-args'),
  /** Mistral Nemo. */
  listAfter('mistral-nemo', '[TOOL_CALLS]', { sign: '[TOOL_CALLS][' }),
  /** Mistral 7B v0.3. */
  listAfter('mistral', '[TOOL_CALLS]', { open: '[TOOL_CALLS] [' }),
  /** Granite 3. */
  listAfter('granite', '<|tool_call|>'),
  /** Llama 3.1 to 3.3: one call is the whole answer. */
  {
    name: 'llama3',
    signs: [['<|start_header_id|>', '"parameters": ']],
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

/** A chat template's format; `plain-json` if it is unknown. */
export function toolFormatOf(template: Pick<ChatTemplate, 'has'>): ToolFormat {
  const known = recognized.find(({ signs }) => signs.some((all) => all.every((sign) => template.has(sign))));
  return known ?? plainFormat;
}

/** @throws LinnetError `CONFIG` for a name that no format has */
export function toolFormatNamed(name: string): ToolFormat {
  const format = toolFormats.find((one) => one.name === name);
  if (format !== undefined) return format;
  const names = toolFormats.map((one) => one.name).join(', ');
  throw new LinnetError('CONFIG', `there is no tool format "${name.slice(0, 40)}"; there are ${names}`);
}
