/** How models write calls of functions, as data: the formats are in tool-formats.ts. */
import type { ArgumentStyle } from './argument-styles.ts';

/** Names of functions that every format can write. */
export const functionName = /^[a-zA-Z0-9_.-]{1,64}$/;

/** A function that a model may call. */
export interface ToolFunction {
  /** One of `functionName`. */
  readonly name: string;
  readonly description?: string;
  /** JSON schema of an object. Default: no parameters. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/**
 * Calls are `open`, then calls with `between` in between, then `close`; a call is `call[0]`, its name, `call[1]`, its
 * arguments, `call[2]`.
 */
export interface ToolFormat {
  readonly name: string;
  /** Texts of which a chat template that writes calls like this has all. */
  readonly signs: readonly string[];
  readonly open: string;
  readonly call: readonly [before: string, between: string, after: string];
  /** Undefined for formats of one call. */
  readonly between: string | undefined;
  readonly close: string;
  readonly style: ArgumentStyle;
  /** Whether calls are the whole text: there is nothing before them. */
  readonly isWhole?: boolean;
  /** Control tokens of the format, which are part of its text. */
  readonly control: readonly string[];
  /** The system message that describes functions, for templates that know none. */
  readonly instructions?: (tools: readonly ToolFunction[]) => string;
}

/** The text by which calls are told from other text, and what follows it up to the name of the first function. */
export function openingOf({ open, call: [before], control }: ToolFormat): { opening: string; rest: string } {
  const [opening = open === '' ? before : open] = control;
  return { opening, rest: (open + before).slice(opening.length) };
}

/** Calls as a text of the format. @param call its arguments are JSON */
export function writeCalls(
  { open, call: [before, middle, after], between = '', close, style }: ToolFormat,
  calls: readonly { readonly name: string; readonly arguments: string }[],
): string {
  const texts = calls.map(({ name, arguments: json }) => before + name + middle + style.write(json) + after);
  return open + texts.join(between) + close;
}
