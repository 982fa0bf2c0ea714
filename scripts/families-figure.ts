/**
 * Draws docs/figures/families.svg from `assets/sweeps/results/families.json`: the augmented models' perplexity over softmax's
 * with the same seed, mean and deviation over the seeds.
 *
 *     npx tsx scripts/families-figure.ts
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { barChart } from '../src/report/charts/chart.ts';
import { formatFixed } from '../src/report/quantities.ts';

const file = 'docs/figures/families.svg';

const resultsSchema = z.object({
  rows: z.array(
    z.object({
      model: z.string(),
      method: z.string(),
      seeds: z.array(z.object({ seed: z.int(), perplexity: z.number() })),
    }),
  ),
});

const { rows } = resultsSchema.parse(JSON.parse(readFileSync('assets/sweeps/results/families.json', 'utf8')));
const ratios = rows
  .filter(({ method }) => method === 'augmented')
  .map(({ model, seeds }) => {
    const softmax = rows.find((row) => row.model === model && row.method === 'softmax')?.seeds ?? [];
    const values = seeds.map(
      ({ seed, perplexity }) => perplexity / (softmax.find((other) => other.seed === seed)?.perplexity ?? Number.NaN),
    );
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return { model, mean, deviation: Math.sqrt(squares / (values.length - 1)) };
  })
  // By family, then by width.
  .sort((a, b) => a.model.localeCompare(b.model, 'en', { numeric: true }));

const chart = await barChart({
  title: 'Augmented against softmax, by family and width',
  description:
    'Ratio of held-out perplexities with the same seed, below 1 where augmented is better; lines are deviations.',
  categories: ratios.map(({ model }) => model),
  value: { label: 'perplexity of augmented / of softmax' },
  barLabel: (value) => formatFixed(value, 3),
  bars: [
    { name: 'ratio', values: ratios.map(({ mean }) => mean), deviations: ratios.map(({ deviation }) => deviation) },
  ],
  horizontal: true,
  marks: 'dots',
  height: 130 + 26 * ratios.length,
});
await writeFileAtomic(file, chart.svgFile());
console.log(`wrote ${file}`);
