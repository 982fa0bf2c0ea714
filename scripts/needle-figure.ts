/**
 * Draws docs/figures/needle-tasks.svg from the output of `linnet study needle … --json`, one line per task: the models'
 * score on each task by the depth of the first needle. A task's name includes the chance score.
 *
 *     npx tsx scripts/needle-figure.ts needles.jsonl
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { LinnetError } from '../src/errors.ts';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { heatMap } from '../src/report/charts/heat-map.ts';
import { formatFixed } from '../src/report/quantities.ts';

const file = 'docs/figures/needle-tasks.svg';

const lineSchema = z.object({
  task: z.string(),
  chance: z.number(),
  models: z.array(
    z.object({
      model: z.string(),
      cells: z.array(z.object({ length: z.int(), depth: z.number(), score: z.number() })).min(1),
    }),
  ),
});

const [given] = process.argv.slice(2);
if (given === undefined)
  throw new LinnetError('INPUT', 'name the file with the lines of `linnet study needle … --json`');
const tasks = readFileSync(given, 'utf8')
  .trim()
  .split('\n')
  .map((line) => lineSchema.parse(JSON.parse(line)));
const [{ models }] = tasks;
const depths = models[0].cells.map(({ depth }) => depth);

const chart = heatMap({
  title: 'Needles found, by task and depth',
  description: 'Percent of what was hidden that was chosen among eight, by task and depth of the first needle.',
  rows: tasks.map(({ task, chance }) => `${task} (chance ${formatFixed(100 * chance, 0)})`),
  columns: depths.map((depth) => `${formatFixed(100 * depth, 0)} %`),
  across: 'depth',
  down: 'task',
  panels: models.map(({ model }, at) => ({
    name: model.split('/').at(-1) ?? model,
    shares: tasks.map((task) => task.models[at].cells.map(({ score }) => score)),
  })),
});
await writeFileAtomic(file, chart.svgFile());
console.log(`wrote ${file}`);
