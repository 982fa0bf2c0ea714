/** Tasks' Jinja templates. A name that a row lacks is an error, not an empty text. */
import type { Row } from '../../../data/files/parquet-rows.ts';
import { LinnetError, reasonOf } from '../../../errors.ts';
import { JinjaTemplate } from '../../../tokenizer/jinja-template.ts';

/** Fills in a row. @throws LinnetError `CONFIG` for a name that the row lacks */
export type FilledTemplate = (row: Row) => string;

/**
 * Parses a template.
 * @param origin for messages: `doc_to_text of task piqa`
 * @throws LinnetError `CONFIG` if it is malformed
 */
export function makeTemplate(source: string, origin: string): FilledTemplate {
  if (!source.includes('{{') && !source.includes('{%')) return () => source;
  let template: JinjaTemplate;
  try {
    // Jinja drops a final line break; prompts keep theirs.
    template = new JinjaTemplate(source.endsWith('\n') ? `${source}\n` : source);
  } catch (cause) {
    throw malformed(origin, cause);
  }
  const names = [...source.matchAll(/\{\{-?\s*([A-Za-z_]\w*)/g)].map(([, name]) => name);
  return (row) => {
    for (const name of names) {
      if (Object.hasOwn(row, name)) continue;
      const has = Object.keys(row).join(', ');
      throw new LinnetError('CONFIG', `${origin} uses "${name}", which a row does not have; it has ${has}`);
    }
    try {
      return template.render(row);
    } catch (cause) {
      throw malformed(origin, cause);
    }
  };
}

function malformed(origin: string, cause: unknown): LinnetError {
  return new LinnetError('CONFIG', `${origin} is not a Jinja template that can be filled in: ${reasonOf(cause)}`, {
    cause,
  });
}
