/**
 * Times training steps (forward, all gradients, clipping, AdamW) with random weights and tokens, alternating with the ceiling
 * product. The share is the operations of all products in the step over its whole time, against the ceiling. A mixer
 * with a convolution is also timed without it: the last share is the convolution's part of the step.
 *
 *   npx tsx bench/training/step.ts [--family llama|flash] [--widths 256,512] [--layers 2] [--mixer augmented] [--runs 7]
 *     [--rows 4] [--length 1024] [--vocabulary 512]
 */
import { parseArgs } from 'node:util';
import { convolutionOf, parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset, takenOptions } from '../../src/attention/presets.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { withMixer } from '../../src/models/linearization/linearize.ts';
import { fixed, formatShortCount } from '../../src/report/quantities.ts';
import { makeTable, textTable } from '../../src/report/table.ts';
import { randomLlamaConfig } from '../random-llama.ts';
import { trainingSpeed } from './training-speed.ts';

const { values } = parseArgs({
  options: {
    family: { type: 'string', default: 'llama' },
    widths: { type: 'string', default: '256,512' },
    layers: { type: 'string', default: '2' },
    mixer: { type: 'string', default: 'augmented' },
    runs: { type: 'string', default: '7' },
    rows: { type: 'string', default: '4' },
    length: { type: 'string', default: '1024' },
    vocabulary: { type: 'string', default: '512' },
  },
});
const [layers, runs, rows, length, vocabulary] = [
  values.layers,
  values.runs,
  values.rows,
  values.length,
  values.vocabulary,
].map(Number);

/** A family's G, and its configuration by width. FLASH follows the paper's training setup. */
const families: Readonly<Record<string, { group: number; config: (width: number) => Record<string, unknown> }>> = {
  llama: {
    group: 64,
    config: (width) => randomLlamaConfig({ width, layers, vocabulary, length }),
  },
  flash: {
    group: 256,
    config: (width) => ({
      model_type: 'flash',
      vocab_size: vocabulary,
      dim: width,
      depth: layers,
      trained_length: length,
    }),
  },
};
const { group, config } = families[values.family];
const measured: (Awaited<ReturnType<typeof trainingSpeed>> & { readonly width: number })[] = [];
for (const width of values.widths.split(',').map(Number)) {
  const plain = describeCausalModel(config(width));
  const mixer = mixerPreset(values.mixer, takenOptions(values.mixer, { group }));
  const without =
    convolutionOf(mixer) === null ? undefined : withMixer(plain, parseMixer({ ...mixer, convolution: null }));
  measured.push({ width, ...(await trainingSpeed(withMixer(plain, mixer), { rows, length, runs, without })) });
}
const table = makeTable<(typeof measured)[number]>(
  [
    { header: 'width', value: 'width' },
    { header: 'step', unit: 'ms', value: ({ timing }) => timing.medianMs, format: fixed(0) },
    { header: 'tokens/s', value: 'tokensPerSecond', format: formatShortCount },
    { header: 'products', unit: 'GFLOP', value: ({ productFlops }) => productFlops / 1e9, format: fixed(1) },
    { header: 'speed', unit: 'GFLOP/s', value: 'gigaflops', format: fixed(1) },
    { header: 'ceiling', unit: 'GFLOP/s', value: 'ceilingGigaflops', format: fixed(1) },
    { header: 'share', value: 'shareOfCeiling', format: fixed(2) },
    { header: 'convolution', value: 'partShare', format: fixed(2) },
    { header: 'compile', unit: 'ms', value: 'compileMs', format: fixed(0) },
  ],
  measured,
);
console.log(textTable(table));
