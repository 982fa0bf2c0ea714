/** The report of the support matrix: a line a cell, and a page of Markdown with a line a mixer. */
import { type Column, makeTable, markdownTable, type Table } from '../../report/table.ts';
import { groupedBy } from '../frame/over-seeds.ts';
import type { StudyReport } from '../frame/study.ts';
import type { SupportRow } from './cells.ts';

const forms = ['forward', 'backward', 'decode'] as const;

/** The report: its answer is no where a form does not work. */
export function reportMatrix(rows: readonly SupportRow[]): StudyReport {
  const failed = rows.filter((row) => forms.some((form) => row[form] === false));
  const about =
    'Every mixer in every attention that can have it, in tiny models with random weights that switch every branch on. Forward: ' +
    'finite logits, and a padded row of a batch has those of the row alone. Backward: gradients of all parameters against finite ' +
    'differences along a random direction. Decode: steps and token trees have the logits of the parallel form.';
  const caption = 'A dash is what cannot exist. Error: the largest of forward and decode over the largest logit.';
  return {
    json: { rows },
    negative: failed.length > 0,
    title: 'Which mixer works where',
    subtitle: 'Found by running all of them',
    sections: [
      { title: 'Every cell', blocks: [{ kind: 'table', table: cellTable(rows), caption }] },
      {
        title: 'How many work',
        blocks: [
          { kind: 'text', text: about },
          { kind: 'table', table: countTable(rows), caption: 'Mixers that work, of those that can exist there.' },
        ],
      },
    ],
    conclusion: failed.map(({ family, mixer, note = 'failed' }) => `${family}, ${mixer}: ${note}`).join('\n'),
    files: { markdown: { name: 'support.md', content: supportPage(rows) } },
  };
}

function countTable(rows: readonly SupportRow[]): Table {
  const counts = groupedBy(rows, attentionOf).map((own) => {
    const cells = forms.map((form) => own.flatMap((row) => row[form] ?? []));
    return { attention: attentionOf(own[0]), worked: cells.map((known) => known.filter(Boolean).length), of: cells };
  });
  const columns = forms.map((form, at): Column<(typeof counts)[number]> => {
    return {
      header: form,
      value: ({ worked, of }) => (of[at].length === 0 ? undefined : `${worked[at]} of ${of[at].length}`),
      sortBy: ({ worked }) => worked[at],
      align: 'right',
    };
  });
  return makeTable([{ header: 'attention', value: ({ attention }) => attention }, ...columns], counts);
}

/** Every cell on a line of its own. */
function cellTable(rows: readonly SupportRow[]): Table {
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

/** The page docs/reference/support.md. */
function supportPage(rows: readonly SupportRow[]): string {
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
branch on. Made by \`linnet study matrix --out runs/matrix\`.

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
