/** `linnet runs`: runs of training, conversion and studies, as a table or as a page that follows the unfinished ones. */
import { once } from 'node:events';
import { writeFileAtomic } from '../../files/atomic.ts';
import { fixed, formatCount, formatDuration } from '../../report/quantities.ts';
import { type Column, makeTable, textTable } from '../../report/table.ts';
import { runsCsv } from '../../runs/csv.ts';
import { startDashboard } from '../../runs/server.ts';
import type { RunSummary } from '../../runs/summary.ts';
import { watchRuns } from '../../runs/watched-runs.ts';
import { readPage } from '../../serving/http/page.ts';
import { defineCommand, flag, optional, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { filePath, folderPath, integer } from '../framework/option-values.ts';

function stepsWords({ steps, totalSteps, unit }: RunSummary): string | undefined {
  if (steps === null) return undefined;
  if (unit === 'trials') return `${formatCount(steps)}/${formatCount(totalSteps ?? steps)} trials`;
  return totalSteps === null || steps === totalSteps
    ? formatCount(steps)
    : `${formatCount(steps)}/${formatCount(totalSteps)}`;
}

/** The columns to compare runs by come first. */
const columns: readonly Column<RunSummary>[] = [
  { header: 'run', value: 'name' },
  { header: 'state', value: 'state' },
  { header: 'perplexity', value: 'perplexity', format: fixed(2) },
  { header: 'loss', value: 'loss', format: fixed(4) },
  { header: 'steps', value: stepsWords, align: 'right' },
  { header: 'time', value: 'seconds', format: formatDuration },
  { header: 'command', value: 'kind' },
  { header: 'model', value: 'model' },
  { header: 'mixer', value: 'mixer' },
  { header: 'machine', value: 'machine' },
];

export const runsCommand = defineCommand({
  description:
    'Lists the recorded runs in a folder and its subfolders, newest first: pretrain, finetune, distill, medusa train, convert, sweep. --serve serves a ' +
    'page on this machine that follows current runs and compares curves; it reads records and changes nothing. Ctrl-C ends it.',
  examples: [
    'linnet runs',
    'linnet runs runs/study --json',
    'linnet runs runs --csv runs.csv',
    'linnet runs --serve --port 8081',
  ],
  arguments: { folder: withDefault(folderPath, 'runs', 'folder to look in') },
  options: {
    csv: optional(filePath, 'write the list to this file, as comma-separated values'),
    serve: flag('serve a page that follows the runs'),
    port: optional(integer(0, 65535, 'number'), 'port of the page; 0 takes a free one (default: 8081)'),
  },
  writes: ['csv'],
  async run(context, { folder, csv, serve, port }) {
    if (port !== undefined && !serve) throw new UsageError('--port needs --serve, which serves the page');
    const { runs, unreadable, isComplete } = await watchRuns(folder).list();
    for (const { name, reason } of unreadable) context.note(`warning: ${name} cannot be read: ${reason}`);
    if (!isComplete) context.note(`warning: ${folder} has too many folders to search; name a folder below it`);
    if (csv !== undefined) await writeFileAtomic(csv, runsCsv(runs));
    const json = { folder, runs: runs.map(({ id: _, ...run }) => run), unreadable };
    if (!serve) {
      context.print(runs.length === 0 ? `There are no runs in ${folder}.` : textTable(makeTable(columns, runs)));
      if (csv !== undefined) context.note(`wrote ${csv}`);
      return { json };
    }
    const page = await readPage({ name: 'runs' });
    if (page === undefined) {
      context.note('no web page: build it with npm run build (needs development dependencies)');
    }
    await using dashboard = await startDashboard(folder, { port, page });
    context.print(`${formatCount(runs.length)} runs at ${dashboard.url}/`);
    const { signal } = context;
    if (!signal.aborted) await once(signal, 'abort');
    return { json: { ...json, url: dashboard.url } };
  },
});
