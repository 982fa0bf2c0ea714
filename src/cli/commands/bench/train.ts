/** `linnet bench train`: a whole training step against the machine's peak matrix-multiplication throughput. */
import type { MixerConfig } from '../../../attention/mixer.ts';
import { convolutionOf, parseMixer } from '../../../attention/mixers.ts';
import { mixerPreset, takenOptions } from '../../../attention/presets.ts';
import { trainingSpeed } from '../../../evaluation/speed/training-speed.ts';
import { describeCausalModel } from '../../../models/families/index.ts';
import { withMixer } from '../../../models/linearization/linearize.ts';
import type { CausalModel } from '../../../models/model.ts';
import { peakMemoryBytes } from '../../../report/provenance.ts';
import { fixed, formatShortCount } from '../../../report/quantities.ts';
import { defineCommand, engineOptions, optional, withDefault, settings } from '../../framework/command.ts';
import { mixerNameOption } from '../../options/model-options.ts';
import { choice, countList, integer } from '../../framework/option-values.ts';

type Config = Readonly<Record<string, unknown>>;

interface BenchFamily {
  /** G of its mixers. */
  readonly group: number;
  readonly config: (width: number, layers: number, vocabulary: number, length: number) => Config;
}

const headWidth = 64;

const families: Readonly<Record<string, BenchFamily>> = {
  /** Heads of 64, a feed-forward of three widths, a tied head. */
  llama: {
    group: 64,
    config: (width, layers, vocabulary, length) => ({
      model_type: 'llama',
      vocab_size: vocabulary,
      hidden_size: width,
      intermediate_size: 3 * width,
      num_hidden_layers: layers,
      num_attention_heads: width / headWidth,
      max_position_embeddings: length,
      tie_word_embeddings: true,
    }),
  },
  /** Queries and keys of 128, values of two widths, groups of 256, as the paper trains it. */
  flash: {
    group: 256,
    config: (width, layers, vocabulary, length) => ({
      model_type: 'flash',
      vocab_size: vocabulary,
      dim: width,
      depth: layers,
      trained_length: length,
    }),
  },
};

export const benchTrain = defineCommand({
  description:
    'Times training steps (forward, all gradients, clipping, AdamW) with random weights and tokens, in turn with the ' +
    'peak matrix-multiplication throughput. The share is the operations of all matrix products of the step, counted on its graph, ' +
    'over the whole time of the step, against the ceiling. Of a mixer with a convolution, the step is timed without it ' +
    'as well: the last share is what the convolution takes of the step.',
  examples: [
    'linnet bench train',
    'linnet bench train --widths 512 --layers 4 --mixer softmax --json',
    'linnet bench train --family flash --widths 256 --layers 6',
  ],
  arguments: {},
  options: {
    family: withDefault(choice(Object.keys(families)), 'llama', `of the model: ${Object.keys(families).join(', ')}`),
    widths: optional(countList, 'model widths, multiples of 64 (default: 256,512)'),
    layers: withDefault(integer(1, 128), 2, 'layers'),
    mixer: mixerNameOption,
    runs: withDefault(integer(1, 1000), 7, 'timed steps'),
    ...engineOptions,
    ...settings({
      vocabulary: withDefault(integer(2, 1 << 20, 'tokens'), 512, 'vocabulary'),
      rows: withDefault(integer(1, 4096), 4, 'sequences per step'),
      length: withDefault(integer(1, 1 << 20, 'tokens'), 1024, 'tokens per sequence'),
    }),
  },
  async run(context, { family, widths = [256, 512], layers, mixer, vocabulary, rows, length, runs, device, threads }) {
    const measured = [];
    for (const width of widths) {
      context.throwIfStopped('between two widths');
      const { group, config } = families[family];
      const plain = describeCausalModel(config(width, layers, vocabulary, length));
      const throughout = (one: MixerConfig): CausalModel => withMixer(plain, one);
      const chosen = mixerPreset(mixer, takenOptions(mixer, { group }));
      // The model without the convolution, where its mixer has one.
      const hasConvolution = convolutionOf(chosen) !== null;
      const without = hasConvolution ? throughout(parseMixer({ ...chosen, convolution: null })) : undefined;
      const options = { rows, length, runs, without, compile: { device, threads }, signal: context.signal };
      measured.push({ width, ...(await trainingSpeed(throughout(chosen), options)) });
    }
    context.table(measured, [
      { header: 'width', value: ({ width }) => width },
      { header: 'step', unit: 'ms', value: ({ timing }) => timing.medianMs, format: fixed(0) },
      { header: 'tokens/s', value: ({ tokensPerSecond }) => tokensPerSecond, format: formatShortCount },
      { header: 'products', unit: 'GFLOP', value: ({ productFlops }) => productFlops / 1e9, format: fixed(1) },
      { header: 'speed', unit: 'GFLOP/s', value: ({ gigaflops }) => gigaflops, format: fixed(1) },
      { header: 'ceiling', unit: 'GFLOP/s', value: ({ ceilingGigaflops }) => ceilingGigaflops, format: fixed(1) },
      { header: 'share', value: ({ shareOfCeiling }) => shareOfCeiling, format: fixed(2) },
      { header: 'convolution', value: ({ partShare }) => partShare, format: fixed(2) },
      { header: 'compile', unit: 'ms', value: ({ compileMs }) => compileMs, format: fixed(0) },
    ]);
    const reported = measured.map(({ timing, partShare, ...rest }) => {
      return { ...rest, convolutionShare: partShare, stepMs: timing.medianMs };
    });
    return { json: { family, mixer, layers, rows: reported, peakMemoryBytes: peakMemoryBytes() } };
  },
});
