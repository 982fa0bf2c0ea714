/** `linnet bench gemm`: how fast this machine multiplies matrices through the runtime. */
import { ceilingSize, productSpeed } from '../../../evaluation/speed/peak-throughput.ts';
import { fixed } from '../../../report/quantities.ts';
import { defineCommand, engineOptions, withDefault } from '../../framework/command.ts';
import { integer } from '../../framework/option-values.ts';

/** The ceiling first, then the shapes of a decode step, a token tree and a training step at width 256. */
const sizes = [ceilingSize, [1, 2048, 2048], [16, 2048, 2048], [4096, 256, 768]] as const;

export const benchGemm = defineCommand({
  description:
    'Times float32 matrix products with the second operand as a weight. The first row is what "ceiling" means in the ' +
    'other benchmarks. A multiply-add counts as two operations.',
  examples: ['linnet bench gemm', 'linnet bench gemm --runs 21 --threads 1 --json'],
  arguments: {},
  options: {
    runs: withDefault(integer(1, 10_000), 11, 'timed runs per size'),
    ...engineOptions,
  },
  async run(context, { runs, device, threads }) {
    const rows: Awaited<ReturnType<typeof productSpeed>>[] = [];
    for (const size of sizes) {
      context.throwIfStopped('between two sizes');
      rows.push(await productSpeed(size, { runs, device, threads }));
    }
    context.table(rows, [
      { header: 'rows × inner × columns', value: ({ size }) => size.join(' × ') },
      { header: 'median', unit: 'ms', value: ({ timing }) => timing.medianMs, format: fixed(3) },
      { header: 'speed', unit: 'GFLOP/s', value: ({ gigaflops }) => gigaflops, format: fixed(1) },
      { header: 'of ceiling', value: ({ gigaflops }) => gigaflops / rows[0].gigaflops, format: fixed(2) },
    ]);
    return {
      json: {
        ceilingGigaflops: rows[0].gigaflops,
        rows: rows.map(({ size, timing, gigaflops }) => ({ size, medianMs: timing.medianMs, gigaflops })),
      },
    };
  },
});
