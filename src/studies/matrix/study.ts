/** The support matrix: which mixer works in which family, found by running every one in a tiny model with random weights. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { describeSoftware } from '../../report/provenance.ts';
import { type Column, makeTable, markdownTable, type Table } from '../../report/table.ts';
import { studyOf } from '../frame/run-study.ts';
import { groupedBy } from '../../report/statistics.ts';
import { resultSection, type StudyReport } from '../frame/study-report.ts';
import { planVersion, trialIdentity } from '../frame/study.ts';
import { type CellPlace, type CellResult, cellResult, supportCell, supportMixers, type SupportRow } from './cells.ts';
import { type SupportProbe, supportProbes } from './probes.ts';

const planSchema = z.strictObject({
  version: planVersion,
  families: z.array(z.string()).optional().describe('families of models (default: all)'),
  mixers: z.array(z.string()).optional().describe('names of presets (default: all)'),
  seed: z.int().min(0).default(1).describe('seed of weights and texts'),
});

type Plan = z.output<typeof planSchema>;
type Cell = CellPlace & { readonly probe: SupportProbe; readonly seed: number };

export const matrixStudy = studyOf<Plan, Cell, CellPlace, CellResult>({
  name: 'matrix',
  description:
    'Runs every mixer, with and without the masked convolution, in a tiny random model of every family and direction: forward (a padded row must have ' +
    'the logits of the row alone), backward (gradients against finite differences) and, if the attention is causal, decoding (steps and trees against ' +
    'the parallel form). "–" marks impossible combinations. Exit code 1 if something fails. support.md in the output folder is the page ' +
    'docs/reference/support.md.',
  examples: [
    'linnet study matrix --out runs/matrix',
    `linnet study matrix --set 'families=["llama"]' --set 'mixers=["augmented"]' --json`,
  ],
  plan: planSchema,
  measured: cellResult,
  async load({ families, mixers = supportMixers(), seed }) {
    const known = supportProbes.map(({ family }) => family);
    requireKnown('family', families ?? [], known);
    requireKnown('mixer', mixers, supportMixers());
    const probes = supportProbes.filter(({ family }) => families?.includes(family) ?? true);
    const trials = probes.flatMap((probe) =>
      mixers.flatMap((mixer) =>
        [false, true].map((convolution): Cell => {
          return { family: probe.family, direction: probe.direction, mixer, convolution, probe, seed };
        }),
      ),
    );
    return { trials };
  },
  place: ({ family, direction, mixer, convolution }) => ({ family, direction, mixer, convolution }),
  identity: ({ probe: _, ...cell }) => trialIdentity(cell, describeSoftware()),
  run: ({ probe, ...cell }, { compile }) => supportCell(probe, cell, { seed: cell.seed, compile }),
  figures: ({ maxError }): Record<string, number> => (maxError === null ? {} : { error: maxError }),
  report: reportMatrix,
});

function requireKnown(what: string, given: readonly string[], known: readonly string[]): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new LinnetError('CONFIG', `there is no ${what} "${unknown}"; expected ${[...new Set(known)].join(', ')}`);
}

const forms = ['forward', 'backward', 'decode'] as const;

/** The report; its answer is no if a form does not work. */
function reportMatrix(rows: readonly SupportRow[]): StudyReport {
  const failed = rows.filter((row) => forms.some((form) => row[form] === false));
  const about =
    'Every mixer in every attention it can replace, in tiny models with random weights that switch every branch on. Forward: ' +
    'finite logits, the same for a padded row of a batch as for the row alone. Backward: gradients of all parameters against finite ' +
    'differences along a random direction. Decode: steps and token trees have the logits of the parallel form.';
  const caption =
    'A dash marks impossible combinations. Error: the largest error of forward and decode over the largest logit.';
  return {
    json: { rows },
    negative: failed.length > 0,
    title: 'Which mixer works where',
    subtitle: 'Found by running all of them',
    sections: [
      resultSection('Every cell', [], cellTable(rows), caption),
      resultSection('How many work', [], countTable(rows), `Share of possible mixers that work. ${about}`),
    ],
    conclusion: failed.map(({ family, mixer, note = 'failed' }) => `${family}, ${mixer}: ${note}`).join('\n'),
    files: { markdown: { name: 'support.md', content: supportPage(rows) } },
  };
}

function countTable(rows: readonly SupportRow[]): Table {
  const columns = forms.map((form): Column<readonly SupportRow[]> => {
    const known = (own: readonly SupportRow[]): boolean[] => own.flatMap((row) => row[form] ?? []);
    const worked = (own: readonly SupportRow[]): number => known(own).filter(Boolean).length;
    return {
      header: form,
      value: (own) => (known(own).length === 0 ? undefined : `${worked(own)} of ${known(own).length}`),
      sortBy: worked,
      align: 'right',
    };
  });
  const attentions = groupedBy(rows, attentionOf);
  return makeTable([{ header: 'attention', value: ([row]) => attentionOf(row) }, ...columns], attentions);
}

function cellTable(rows: readonly SupportRow[]): Table {
  const named = ['family', 'direction', 'mixer', 'convolution', ...forms] as const;
  return makeTable<SupportRow>(
    [
      ...named.map((name) => ({ header: name, value: name })),
      { header: 'error', value: 'maxError', format: (value) => value.toExponential(1) },
    ],
    rows,
  );
}

/** The page docs/reference/support.md: a line a mixer. */
function supportPage(rows: readonly SupportRow[]): string {
  const lines = groupedBy(rows, nameOf);
  // "augmented" has one line: it has no cell without the convolution.
  const cellOf = (own: readonly SupportRow[], attention: string): SupportRow | undefined => {
    const cells = own.filter((row) => attentionOf(row) === attention);
    return cells.find(({ forward }) => forward !== null) ?? cells[0];
  };
  const columns = [...new Set(rows.map(attentionOf))].map((attention): Column<readonly SupportRow[]> => {
    return { header: attention, value: (own) => spelled(cellOf(own, attention)) };
  });
  const table = makeTable([{ header: 'mixer', value: ([row]) => nameOf(row) }, ...columns], lines);
  return `# Support

This page shows which mixers work in which attentions. Each runs in a tiny model with random weights that enable every
branch. Made by \`linnet study matrix --out runs/matrix\`.

- **F**, forward: finite logits, and a padded row of a batch has the same logits as alone.
- **B**, backward: gradients of all parameters, against finite differences along a random direction.
- **D**, decode: steps and token trees match the parallel form's logits. Attentions that see the whole text do not decode.
- The number is the largest error of F and D over the largest logit. "–" means that the combination cannot exist; a missing letter means failure.

${markdownTable(table)}
`;
}

function nameOf({ mixer, convolution }: SupportRow): string {
  return `${mixer}${convolution && mixer !== 'augmented' ? ' + convolution' : ''}`;
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
