/** Fields of requests by which a model may call functions, and their meaning for its text. */
import { z } from 'zod';
import { CalledAnswer, type CallReader } from '../../../engine/tools/call-reader.ts';
import { functionName, type ToolFunction } from '../../../engine/tools/tool-formats.ts';
import type { Serving } from '../request-context.ts';
import { madeOf, maybe, optionalFlag, refuse } from '../request-fields.ts';
import type { TextRecord } from './records.ts';
import type { TextRequest } from './text-fields.ts';
import type { JsonObject } from '../../../files/json-object.ts';

/** Most functions of a request. */
export const mostTools = 128;

/** A function as chats and responses describe it. */
export const functionFields = {
  name: z.string().regex(functionName, { error: 'expected a name of up to 64 letters, digits, "_", "-" and "."' }),
  description: maybe(z.string().max(16_384)),
  parameters: maybe(z.record(z.string(), z.unknown())),
  strict: optionalFlag,
};

/** Functions that a choice allows, and whether one must be called; `named` is how a dialect names a function. */
export function allowedFields<Named extends z.ZodType>(named: Named) {
  return { mode: z.enum(['auto', 'required']), tools: z.array(named).min(1).max(mostTools) };
}

const modes = z.enum(['none', 'auto', 'required']);

/** Fields of a dialect, by the shapes of its functions, of a named choice and of a choice among some. */
export function toolFields<Tool extends z.ZodType, Named extends z.ZodType, Allowed extends z.ZodType>(
  tool: Tool,
  named: Named,
  allowed: Allowed,
) {
  const error = 'expected "none", "auto", "required", a function or "allowed_tools"';
  return {
    tools: maybe(z.array(tool).max(mostTools)),
    tool_choice: maybe(z.union([modes, named, allowed], { error })),
    parallel_tool_calls: optionalFlag,
  };
}

interface AllowedTools {
  readonly mode: 'auto' | 'required';
  readonly tools: readonly { readonly name: string }[];
}

export interface ToolRequest {
  readonly tools?: readonly z.output<z.ZodObject<typeof functionFields>>[] | undefined;
  readonly choice?: z.output<typeof modes> | { readonly name: string } | AllowedTools | undefined;
  readonly parallel?: boolean | undefined;
  /** JSON schema of an answer without calls. */
  readonly schema?: unknown;
}

/** Functions made ready: grammar, tokenizer, readers. */
export interface Calling {
  /** Holds a text to the calls. */
  readonly held: Pick<TextRequest, 'constraint' | 'tokenizer'>;
  readonly tools: readonly ToolFunction[];
  /** A reader of one answer. */
  readonly reader: () => CallReader;
}

/** Reads one answer to a request: thoughts, text, calls. */
export function answerTo({ job }: TextRecord, calling: Calling | undefined): CalledAnswer {
  return new CalledAnswer(calling?.reader(), job.thinking?.reader(job.prompt.tokens));
}

/** How much a model is to think, by the names of the API. */
export const effortField = maybe(z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh']));

/** An effort as variables of templates, and as a bound of thoughts. */
export function effortOf(effort: string | undefined): {
  readonly variables: JsonObject;
  readonly thinkingBudget?: number;
} {
  if (effort === undefined) return { variables: {} };
  if (effort === 'none') return { variables: { enable_thinking: false }, thinkingBudget: 0 };
  return { variables: { enable_thinking: true, reasoning_effort: effort } };
}

/**
 * The functions of a request, made ready; undefined where none may be called.
 * @throws ApiError for functions that a text cannot be held to, naming the field
 */
export function callingOf(
  { calls }: Serving,
  { tools: given = [], choice = 'auto', parallel = true, schema }: ToolRequest,
): Calling | undefined {
  if (given.length === 0) {
    if (choice !== 'none' && choice !== 'auto') refuse('"tool_choice" needs "tools"; give some', 'tool_choice');
    return undefined;
  }
  const tools = given.map(({ name, description, parameters }): ToolFunction => ({ name, description, parameters }));
  const twice = tools.find(({ name }, place) => tools.findIndex((other) => other.name === name) !== place);
  if (twice !== undefined) refuse(`two functions are called "${twice.name}"; rename one`, 'tools');
  if (choice === 'none') return undefined;
  const isNamed = typeof choice === 'object' && 'name' in choice;
  const { mode, tools: allowed }: AllowedTools = isNamed
    ? { mode: 'required', tools: [choice] }
    : typeof choice === 'object'
      ? choice
      : { mode: choice, tools };
  const callable = allowed.map(
    ({ name }) =>
      tools.find((tool) => tool.name === name) ?? refuse(`there is no function "${name}" among "tools"`, 'tool_choice'),
  );
  const reader = (): CallReader => calls.reader({ tools, schema });
  const asked = { tools: callable, required: mode === 'required', parallel: parallel && !isNamed, schema };
  return { tools, reader, held: madeOf('tools', () => calls.held(asked)) };
}
