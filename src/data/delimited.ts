/** Tables as text: comma-separated values with quotes (RFC 4180), or tab-separated values without. */
import { LinnetError } from '../errors.ts';

export interface DelimitedSyntax {
  /** One character. */
  readonly delimiter: string;
  /** Whether a value may stand in quotation marks, and then hold delimiters, line breaks and doubled quotation marks. */
  readonly quotes: boolean;
}

export interface DelimitedRow {
  readonly values: readonly string[];
  /** Where it begins, counted from 1. */
  readonly line: number;
}

/**
 * The rows of a table; empty lines are skipped.
 *
 * @param text with line ends normalised to `\n`
 * @param source for messages
 * @throws LinnetError `FORMAT` for a quotation mark that is not closed, or is followed by more of the value
 */
export function parseDelimited(text: string, { delimiter, quotes }: DelimitedSyntax, source: string): DelimitedRow[] {
  const rows: DelimitedRow[] = [];
  let line = 1;
  let place = 0;
  while (place < text.length) {
    const begun = line;
    const values: string[] = [];
    for (;;) {
      if (quotes && text[place] === '"') {
        const { value, end } = quoted(text, place, `${source}:${line}`);
        line += countBreaks(value);
        values.push(value);
        place = end;
        if (place < text.length && text[place] !== delimiter && text[place] !== '\n') {
          throw new LinnetError('FORMAT', `${source}:${line}: text follows a closing quotation mark`);
        }
      } else {
        const end = nextOf(text, place, delimiter);
        values.push(text.slice(place, end));
        place = end;
      }
      if (text[place] !== delimiter) break;
      place++;
    }
    place++; // the line break
    line++;
    if (values.length > 1 || values[0] !== '') rows.push({ values, line: begun });
  }
  return rows;
}

/** The value that a quotation mark at `start` opens, and the place after the one that closes it. */
function quoted(text: string, start: number, source: string): { value: string; end: number } {
  let place = start + 1;
  for (;;) {
    const mark = text.indexOf('"', place);
    if (mark < 0) throw new LinnetError('FORMAT', `${source}: a quotation mark is never closed`);
    if (text[mark + 1] !== '"') return { value: text.slice(start + 1, mark).replaceAll('""', '"'), end: mark + 1 };
    place = mark + 2;
  }
}

/** The next delimiter or line break, or the end. */
function nextOf(text: string, place: number, delimiter: string): number {
  const lineEnd = text.indexOf('\n', place);
  const end = lineEnd < 0 ? text.length : lineEnd;
  for (let at = place; at < end; at++) if (text[at] === delimiter) return at;
  return end;
}

function countBreaks(value: string): number {
  return value.split('\n').length - 1;
}
