/** What is wrong with a value that a schema refused, for people: a line a problem, never endless. */
import { z } from 'zod';

const mostLines = 20;
/** Of a line; names of fields come from the file that is refused. */
const longestLine = 240;

/** The problems, each with the place it is at, as `z.prettifyError` words them. */
export function schemaProblems(error: z.ZodError): string {
  const lines = z.prettifyError(error).split('\n');
  const shown = lines
    .slice(0, mostLines)
    .map((line) => (line.length > longestLine ? `${line.slice(0, longestLine)}…` : line));
  if (lines.length > mostLines) shown.push(`… and ${lines.length - mostLines} more lines of such`);
  return shown.join('\n');
}
