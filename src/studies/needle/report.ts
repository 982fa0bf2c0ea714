/** The report of needles: a table of scores, and a heat map of length against depth. */
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { heatMap } from '../../report/charts/heat-map.ts';
import { fixed, formatCount, formatFixed, formatTokens } from '../../report/quantities.ts';
import { type Column, makeTable } from '../../report/table.ts';
import { groupedBy } from '../frame/over-seeds.ts';
import type { StudyReport } from '../frame/study.ts';
import { needleChance } from './measure.ts';
import type { NeedleFields, NeedleResult } from './plan.ts';

export function reportNeedles(plan: NeedleFields, results: readonly NeedleResult[]): StudyReport {
  const { task, answer, questions } = plan;
  const chance = answer === 'choose' ? needleChance(task) : 0;
  const models = groupedBy(results, ({ model }) => model);
  const table = makeTable<NeedleResult>(
    [
      { header: 'length', value: ({ length }) => length, format: formatCount },
      { header: 'depth', value: ({ depth }) => depth, format: fixed(2) },
      ...models.map(
        (own): Column<NeedleResult> => ({
          header: own[0].model,
          value: ({ length, depth }) => spelled(cellOf(own, length, depth)),
          align: 'right',
        }),
      ),
    ],
    models[0],
  );
  const about = `${task}, ${questions} questions a row, ${answer}; chance is ${formatFixed(chance, 3)}`;
  const chart = needleChart(plan, models);
  return {
    json: { task, answer, questions, chance, models: models.map(reportedModel) },
    title: `Needle in a haystack: ${task}`,
    subtitle: about,
    sections: [
      {
        title: 'Scores',
        blocks: [
          { kind: 'chart', chart },
          { kind: 'table', table },
        ],
      },
    ],
    conclusion: about,
    charts: { needle: chart },
  };
}

function reportedModel(own: readonly NeedleResult[]) {
  const sum = (field: 'tokensRead' | 'tokensReused'): number => own.reduce((total, cell) => total + cell[field], 0);
  const cells = own.map(({ model: _, tokensRead: __, tokensReused: ___, ...cell }) => cell);
  return { model: own[0].model, cells, tokensRead: sum('tokensRead'), tokensReused: sum('tokensReused') };
}

function cellOf(own: readonly NeedleResult[], length: number, depth: number): NeedleResult | undefined {
  return own.find((cell) => cell.length === length && cell.depth === depth);
}

function spelled(cell: NeedleResult | undefined): string | undefined {
  return cell && `${formatFixed(cell.score, 3)} ± ${formatFixed(cell.error, 3)}`;
}

function needleChart(
  { task, answer, lengths, depths }: NeedleFields,
  models: readonly (readonly NeedleResult[])[],
): Chart {
  return heatMap({
    title: `Needle in a haystack: ${task}`,
    description: `Percent of what was hidden that was found (${answer}), by length of the text and depth of the needle.`,
    columns: lengths.map((length) => formatTokens(length)),
    rows: depths.map((depth) => `${formatFixed(100 * depth, 0)} %`),
    across: 'tokens',
    down: 'depth',
    panels: models.map((own) => ({
      name: own[0].model.split('/').at(-1) ?? own[0].model,
      shares: depths.map((depth) => lengths.map((length) => cellOf(own, length, depth)?.score ?? Number.NaN)),
    })),
  });
}
