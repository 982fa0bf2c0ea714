/** The plan of a sweep: which models get which mixers, on which text, with which budget and seeds. */
import { z } from 'zod';
import type { MixerConfig, Reading } from '../../attention/mixer.ts';
import { convolutionOf, describeMixer, mixerSchema, withConvolutionAdded } from '../../attention/mixers.ts';
import { allReadings, mixerPresetReading, presetShapes } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { byName, measuredNumber, naming, planSeeds } from '../frame/study.ts';
import { hasOneStart, startFields } from '../frame/train-trial.ts';
import { whole } from '../../files/whole-numbers.ts';

const methodSchema = z
  .strictObject({
    /** A preset by name, with its options next to it. */
    preset: z.string().optional(),
    ...presetShapes(),
    /** Or a full configuration. */
    mixer: mixerSchema.optional(),
    /** Another mixer in the first layers, such as TransNormer's block-diagonal softmax. */
    first: z.strictObject({ layers: whole(1), mixer: mixerSchema }).optional(),
    /** Whether it is run with the masked convolution too. Default: where the mixer can have one and has none. */
    augmented: z.boolean().optional(),
  })
  .refine(({ preset, mixer }) => (preset === undefined) !== (mixer === undefined), {
    message: 'give either "preset" or "mixer"',
  });

type SweepMethod = z.infer<typeof methodSchema>;

/** The attention of a model from a folder is replaced and all of it trained further. */
const modelSchema = z
  .strictObject({
    ...startFields,
    /** Differences from the plan's training settings. */
    training: z.looseObject({}).optional(),
  })
  .refine(...hasOneStart);

export const sweepPlan = z.strictObject({
  version: z.literal(1),
  title: z.string().min(1).max(200),
  data: z.array(z.string().min(1)).min(1),
  field: z.string().default('text'),
  /** Documents at the end that are measured on, or the share of them. */
  heldOut: z.number().positive(),
  /** Most windows of held-out text that are scored. */
  windows: whole(1).default(64),
  tokenizer: z.string().min(1),
  models: byName(modelSchema),
  methods: byName(methodSchema),
  seeds: planSeeds,
  /** The budget, the same for all. */
  training: z.looseObject({}),
});

export type SweepPlan = z.infer<typeof sweepPlan>;

/** Names of model and method in the plan, whether the convolution was added, and the seed. */
export type SweepPlace = Readonly<Record<'model' | 'method', string> & { augmented: boolean; seed: number }>;

export const sweepMeasured = z.strictObject({
  /** Of the held-out text: exp of the mean −log p of its tokens, of the masked ones, or of those cut out. */
  perplexity: measuredNumber,
  /** Mean training loss of the last tenth of the optimizer steps. */
  loss: measuredNumber,
  parameters: z.int(),
  tokensPerSecond: measuredNumber,
  seconds: measuredNumber,
  /** The mixer of the last layer in words. */
  description: z.string(),
  /** Training loss; absent in results of earlier versions. */
  curve: z
    .array(z.strictObject({ update: z.int(), loss: z.number() }))
    .readonly()
    .optional(),
});

export type SweepMeasured = z.output<typeof sweepMeasured>;
export type SweepResult = SweepPlace & SweepMeasured;

export interface SweepVariant {
  readonly method: string;
  readonly augmented: boolean;
  /** The mixers of `layers` layers that read the past, or a whole text as encoders do. */
  mixers(layers: number, reads: Reading): MixerConfig[];
}

/**
 * The methods of a plan, each plain and, where it can be, augmented by the masked convolution (paper, section 4.2).
 * @throws LinnetError `CONFIG` for an unknown preset or impossible options, naming the method
 */
export function sweepVariants(plan: SweepPlan): SweepVariant[] {
  return Object.entries(plan.methods).flatMap(([method, choice]) => {
    const named = <T>(work: () => T): T => naming(`method "${method}"`, work);
    const plain = (reads: Reading) => named(() => choice.mixer ?? presetOf(choice, reads));
    const augment = (mixer: MixerConfig) => named(() => withConvolution(mixer, choice.kernel));
    const first = choice.first?.mixer;
    const variant = (
      augmented: boolean,
      mixerOf: (reads: Reading) => MixerConfig,
      firstMixer = first,
    ): SweepVariant => ({
      method,
      augmented,
      mixers(layers, reads) {
        const mixer = mixerOf(reads);
        const few = choice.first?.layers ?? 0;
        return Array.from({ length: layers }, (_, layer) => (layer < few ? (firstMixer ?? mixer) : mixer));
      },
    });
    const past = plain('past');
    if (!(choice.augmented ?? canGain(past))) return [variant(false, plain)];
    augment(past);
    const firstAugmented = first !== undefined && canGain(first) ? augment(first) : first;
    return [variant(false, plain), variant(true, (reads) => augment(plain(reads)), firstAugmented)];
  });
}

function presetOf({ preset = '', ...rest }: SweepMethod, reads: Reading): MixerConfig {
  const { mixer: _, first: __, augmented: ___, ...options } = rest;
  return mixerPresetReading(reads, preset, options, allReadings); // a plan may have models of both kinds
}

/** Whether a mixer can have the convolution and does not. */
function canGain(mixer: MixerConfig): boolean {
  return convolutionOf(mixer) === null && withConvolutionAdded(mixer) !== undefined;
}

function withConvolution(mixer: MixerConfig, kernel: number | undefined): MixerConfig {
  const added = withConvolutionAdded(mixer, kernel);
  if (added !== undefined) return added;
  throw new LinnetError('CONFIG', `'${describeMixer(mixer)}' has no convolution; set "augmented" to false`);
}
