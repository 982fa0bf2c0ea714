/** The support matrix for people: a line per cell, and a page of Markdown with a line per mixer. */
import type { SupportRow } from '../../studies/support/matrix.ts';
import { type Column, makeTable, markdownTable, type Table } from '../../report/table.ts';

/** Every cell on a line of its own. */
export function supportTable(rows: readonly SupportRow[]): Table {
  return makeTable(
    [
      { header: 'family', value: ({ family }) => family },
      { header: 'direction', value: ({ direction }) => direction },
      { header: 'mixer', value: ({ mixer }) => mixer },
      { header: 'convolution', value: ({ convolution }) => convolution },
      { header: 'forward', value: ({ forward }) => forward },
      { header: 'backward', value: ({ backward }) => backward },
      { header: 'decode', value: ({ decode }) => decode },
      { header: 'error', value: ({ maxError }) => maxError, format: (value) => value.toExponential(1) },
    ],
    rows,
  );
}

/** A mixer over all attentions. */
interface MixerLine {
  readonly name: string;
  readonly cells: ReadonlyMap<string, SupportRow>;
}

/** The page docs/support.md. */
export function supportPage(rows: readonly SupportRow[]): string {
  const attentions = [...new Set(rows.map(attentionOf))];
  const lines = new Map<string, Map<string, SupportRow>>();
  for (const row of rows) {
    const name = `${row.mixer}${row.convolution && row.mixer !== 'augmented' ? ' + convolution' : ''}`;
    const cells = lines.get(name) ?? new Map<string, SupportRow>();
    const known = cells.get(attentionOf(row));
    // "augmented" has one line: its cell without the convolution does not exist.
    if (known === undefined || known.forward === null) cells.set(attentionOf(row), row);
    lines.set(name, cells);
  }
  const columns: Column<MixerLine>[] = [
    { header: 'mixer', value: ({ name }) => name },
    ...attentions.map((attention) => ({
      header: attention,
      value: ({ cells }: MixerLine) => spelled(cells.get(attention)),
    })),
  ];
  const table = makeTable(
    columns,
    [...lines].map(([name, cells]) => ({ name, cells })),
  );
  return `# Support

Which mixer works in which attention, found by running all of them in tiny models with random weights that switch every
branch on. Made by \`linnet matrix --markdown docs/support.md\`.

- **F**, forward: finite logits, and a padded row of a batch has the logits of the row alone.
- **B**, backward: gradients of all parameters, against finite differences along a random direction.
- **D**, decode: steps and token trees have the logits of the parallel form. Attentions that see the whole text do not decode.
- The number is the largest error of F and D over the largest logit. "–" is what cannot exist; a letter that is missing failed.

${markdownTable(table)}
`;
}

function attentionOf({ family, direction }: SupportRow): string {
  return `${family}, ${direction}`;
}

function spelled(row: SupportRow | undefined): string | undefined {
  if (row === undefined || row.forward === null) return undefined;
  const letters = [row.forward && 'F', row.backward === true && 'B', row.decode === true && 'D'];
  const error = row.maxError === null ? '' : ` ${row.maxError.toExponential(0)}`;
  return `${letters.filter((letter) => letter !== false).join(' ')}${error}`;
}
