/**
 * Times float32 matrix products with the second operand as a weight. The first row is the ceiling of other benchmarks; a
 * multiply-add counts as two operations.
 *
 *   npx tsx bench/training/products.ts [runs, default 11]
 */
import { fixed } from '../../src/report/quantities.ts';
import { makeTable, textTable } from '../../src/report/table.ts';
import { ceilingSize, productSpeed } from './peak-throughput.ts';

const [runs = '11'] = process.argv.slice(2);
/** The ceiling, then the shapes of a decode step, a token tree and a training step at width 256. */
const sizes = [ceilingSize, [1, 2048, 2048], [16, 2048, 2048], [4096, 256, 768]] as const;
const rows: Awaited<ReturnType<typeof productSpeed>>[] = [];
for (const size of sizes) rows.push(await productSpeed(size, { runs: Number(runs) }));
const table = makeTable<(typeof rows)[number]>(
  [
    { header: 'rows × inner × columns', value: ({ size }) => size.join(' × ') },
    { header: 'median', unit: 'ms', value: ({ timing }) => timing.medianMs, format: fixed(3) },
    { header: 'speed', unit: 'GFLOP/s', value: 'gigaflops', format: fixed(1) },
    { header: 'of ceiling', value: ({ gigaflops }) => gigaflops / rows[0].gigaflops, format: fixed(2) },
  ],
  rows,
);
console.log(textTable(table));
