/** The speculative chapter in the report of `linnet demo`. */
import { treeFromPaths } from '../../../attention/tree.ts';
import type { PathAcceptance } from '../../../decoding/speculation/drafters/observed-drafter.ts';
import { barChart } from '../../../report/charts/chart.ts';
import type { Chart } from '../../../report/charts/chart-renderer.ts';
import type { Section } from '../../../report/html.ts';
import { fixed, formatCount, formatFixed } from '../../../report/quantities.ts';
import { makeTable, type Table } from '../../../report/table.ts';
import { treeChart } from '../../../report/charts/tree-chart.ts';
import { describeSpeculationStudy, type SpeculationStudy } from './speculation.ts';

/** Places of the trees that are drawn, those offered most often: the others were seen a few times at most. */
const mostPlaces = 40;

/** Share of steps that accepted a guess of each depth. */
export async function acceptanceByDepthChart({ acceptedByDepth, steps }: SpeculationStudy): Promise<Chart> {
  const shares = acceptedByDepth.length === 0 ? [0] : acceptedByDepth;
  return barChart({
    title: 'Accepted guesses by depth',
    description: 'Share of steps that accepted at least one, two, three … guessed tokens.',
    categories: shares.map((_, at) => `${at + 1}`),
    value: { label: 'share of steps', unit: '%' },
    // A percentage says nothing without what it is of.
    barLabel: (value) => `${formatFixed(value, 0)} % (${formatCount(Math.round((value * steps) / 100))})`,
    bars: [{ name: 'accepted', values: shares.map((share) => 100 * share) }],
  });
}

/** The tree of the places offered most often, coloured by acceptance. */
export function acceptanceTreeChart({ acceptance }: SpeculationStudy): Chart {
  const places = acceptance.slice(0, mostPlaces);
  const { tree, paths } = treeFromPaths(places.map(({ path }) => path));
  const shares = new Map(places.map((place) => [place.path.join(','), share(place)]));
  return treeChart({
    title: 'Guesses by their place in the tree',
    description: 'Candidate tree; each node is coloured by how often the guess at its place became text.',
    tree,
    // The root is the token that was chosen last, and certain.
    acceptance: paths.map((path) => (path.length === 0 ? 1 : (shares.get(path.join(',')) ?? Number.NaN))),
  });
}

function share({ offered, accepted }: PathAcceptance): number {
  return offered === 0 ? Number.NaN : accepted / offered;
}

function comparisonTable({
  texts,
  tokens,
  mismatches,
  steps,
  tokensPerStep,
  tokensPerSecond,
}: SpeculationStudy): Table {
  const rows = [
    { method: 'one by one', runs: tokens - texts, perStep: 1, rate: tokensPerSecond.sequential, differing: 0 },
    {
      method: 'speculative',
      runs: steps,
      perStep: tokensPerStep,
      rate: tokensPerSecond.speculative,
      differing: mismatches,
    },
  ];
  return makeTable(
    [
      { header: 'decoding', value: ({ method }) => method },
      { header: 'runs of the model', value: ({ runs }) => runs, format: formatCount },
      { header: 'tokens per step', value: ({ perStep }) => perStep, format: fixed(2) },
      { header: 'tokens/s', value: ({ rate }) => rate, format: fixed(0) },
      { header: 'other tokens', value: ({ differing }) => differing, format: formatCount },
    ],
    rows,
  );
}

/** The chapter. */
export function speculationSection(study: SpeculationStudy, charts: { depths: Chart; tree: Chart }): Section {
  const { texts, tokens, nodesPerStep, tokensPerSecond } = study;
  const ratio = tokensPerSecond.sequential === 0 ? 0 : tokensPerSecond.speculative / tokensPerSecond.sequential;
  return {
    title: 'Several tokens per step',
    blocks: [
      {
        kind: 'text',
        text:
          'A drafter guesses how the text goes on: here by looking up where its last tokens stood before, which needs no training and no ' +
          'second model. The augmented model reads the whole tree of guesses in one step on top of its constant-size state, keeps the path ' +
          'it would have written itself, and takes only that path into the state. ' +
          `${texts} texts of ${formatCount(tokens)} tokens in all were decoded both ways, greedily; a step read ${formatFixed(nodesPerStep, 1)} nodes on average.`,
      },
      { kind: 'table', table: comparisonTable(study), caption: `${describeSpeculationStudy(study)}.` },
      {
        kind: 'text',
        text:
          `In time that is ${formatFixed(ratio, 2)} times the speed of one-by-one decoding, on this machine. A step over a tree costs more than a ` +
          'step over one token; the gap between that factor and the tokens per step is this cost, which differs between models and machines ' +
          '(linnet bench speculate measures it). Greedy texts of a small model repeat themselves, which makes them easy to look up: the ' +
          'figures are those of this model and these texts, not a promise.',
      },
      {
        kind: 'chart',
        chart: charts.depths,
        caption: `Share of the ${formatCount(study.steps)} steps that accepted so many guesses or more, with their number.`,
      },
      {
        kind: 'chart',
        chart: charts.tree,
        caption:
          'In each node: of the times that a guess stood there, the percentage in which it became text. The likeliest guess is at the left; ' +
          `the ${mostPlaces} places used most often are shown, with the token that is already certain at the top.`,
      },
    ],
  };
}
