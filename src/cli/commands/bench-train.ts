/** `linnet bench train`: a whole training step against the machine's product ceiling. */
import { mixerPreset, mixerPresetNames } from '../../attention/mixer.ts';
import { trainingSpeed } from '../../evaluation/speed/training-speed.ts';
import { describeCausalModel } from '../../models/families.ts';
import type { CausalModel } from '../../models/model.ts';
import { formatFixed, formatShortCount } from '../../report/quantities.ts';
import { makeTable, textTable } from '../../report/table.ts';
import { defineCommand, engineOptions, optional, withDefault } from '../command.ts';
import { choice, countList, integer } from '../option-values.ts';

const headWidth = 64;

export const benchTrain = defineCommand({
  description:
    'Times training steps (forward, all gradients, clipping, AdamW) of a LLaMA with random weights and tokens, in turn ' +
    'with the product ceiling. The share is the operations of all matrix products of the step, counted on its graph, ' +
    'over the whole time of the step, against the ceiling.',
  examples: ['linnet bench train', 'linnet bench train --widths 512 --layers 4 --mixer softmax --json'],
  arguments: {},
  options: {
    widths: optional(countList, {
      placeholder: 'list',
      description: 'model widths, multiples of 64 (default: 256,512)',
    }),
    layers: withDefault(integer({ min: 1, max: 128 }), 2, { placeholder: 'count', description: 'layers' }),
    mixer: withDefault(choice(mixerPresetNames), 'augmented', {
      placeholder: 'name',
      description: mixerPresetNames.join(', '),
    }),
    vocabulary: withDefault(integer({ min: 2, max: 1 << 20 }), 512, {
      placeholder: 'tokens',
      description: 'vocabulary',
    }),
    rows: withDefault(integer({ min: 1, max: 4096 }), 4, { placeholder: 'count', description: 'sequences per step' }),
    length: withDefault(integer({ min: 1, max: 1 << 20 }), 1024, {
      placeholder: 'tokens',
      description: 'tokens per sequence',
    }),
    runs: withDefault(integer({ min: 1, max: 1000 }), 7, { placeholder: 'count', description: 'timed steps' }),
    ...engineOptions,
  },
  async run(context, { widths = [256, 512], layers, mixer, vocabulary, rows, length, runs, device, threads }) {
    const measured = [];
    for (const width of widths) {
      context.throwIfStopped('between two widths');
      const model = plainModel(width, layers, mixer, vocabulary, length);
      measured.push({ width, ...(await trainingSpeed(model, { rows, length, runs, compile: { device, threads } })) });
    }
    const fixed = (digits: number) => (value: number) => formatFixed(value, digits);
    context.print(
      textTable(
        makeTable(
          [
            { header: 'width', value: ({ width }) => width },
            { header: 'step', unit: 'ms', value: ({ timing }) => timing.medianMs, format: fixed(0) },
            {
              header: 'tokens/s',
              value: ({ tokensPerSecond }) => tokensPerSecond,
              format: (value) => formatShortCount(value),
            },
            { header: 'products', unit: 'GFLOP', value: ({ productFlops }) => productFlops / 1e9, format: fixed(1) },
            { header: 'speed', unit: 'GFLOP/s', value: ({ gigaflops }) => gigaflops, format: fixed(1) },
            { header: 'ceiling', unit: 'GFLOP/s', value: ({ ceilingGigaflops }) => ceilingGigaflops, format: fixed(1) },
            { header: 'share', value: ({ shareOfCeiling }) => shareOfCeiling, format: fixed(2) },
            { header: 'compile', unit: 'ms', value: ({ compileMs }) => compileMs, format: fixed(0) },
          ],
          measured,
        ),
      ),
    );
    return {
      json: {
        mixer,
        layers,
        rows: measured.map(({ timing, ...rest }) => ({ ...rest, stepMs: timing.medianMs })),
        peakMemoryBytes: 1024 * process.resourceUsage().maxRSS,
      },
    };
  },
});

/** A LLaMA of the shape that design figures are given for: heads of 64, a feed-forward of three widths, a tied head. */
function plainModel(width: number, layers: number, mixer: string, vocabulary: number, length: number): CausalModel {
  const model = describeCausalModel({
    model_type: 'llama',
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: 3 * width,
    num_hidden_layers: layers,
    num_attention_heads: width / headWidth,
    max_position_embeddings: length,
    tie_word_embeddings: true,
  });
  return model.withMixers(model.mixers.map(() => mixerPreset(mixer)));
}
