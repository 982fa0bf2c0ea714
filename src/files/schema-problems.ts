/** Checks values against a schema and lists the problems of a refused one: one a line, of bounded number. */
import { z } from 'zod';
import { type ErrorCode, LinnetError } from '../errors.ts';

const mostLines = 20;
/** Per line: field names come from the refused file. */
const longestLine = 240;

/**
 * Parses a value with a schema.
 * @param refusal first line of the error; the problems follow, one per line
 * @throws LinnetError with `code`
 */
export function validated<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  code: ErrorCode,
  refusal: string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new LinnetError(code, `${refusal}:\n${schemaProblems(result.error)}`, { cause: result.error });
}

/** The problems, each with its place, as `z.prettifyError` words them. */
export function schemaProblems(error: z.ZodError): string {
  const lines = z.prettifyError(error).split('\n');
  const shown = lines
    .slice(0, mostLines)
    .map((line) => (line.length > longestLine ? `${line.slice(0, longestLine)}…` : line));
  if (lines.length > mostLines) shown.push(`… and ${lines.length - mostLines} more lines`);
  return shown.join('\n');
}
