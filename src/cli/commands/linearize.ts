/** `linnet linearize`: swaps the mixers of a model and saves the result, ready for fine-tuning. */
import { defaultKernel } from '../../attention/convolution-config.ts';
import type { MixerConfig, Reading } from '../../attention/mixer.ts';
import { defaultGroup } from '../../attention/preset.ts';
import { convolutionOf, parseMixer } from '../../attention/mixers.ts';
import { allReadings, localKernelFor, mixerPresetNames, takenOptions } from '../../attention/presets.ts';
import { type LoadedModel, loadModel, saveModel } from '../../checkpoint/load-model.ts';
import { calibrate } from '../../conversion/calibrate.ts';
import { calibrationTexts } from '../../conversion/texts.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { requireCausal } from '../../models/families/index.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { defaultParts, linearizeParts } from '../../models/linearization/linearize-parts.ts';
import type { AttentionPart } from '../../models/linnet-section.ts';
import type { CausalModel, EncoderDecoderModel, EncoderModel, Model } from '../../models/model.ts';
import { formatCount, formatPercent } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { defineCommand, optional, optionalList, required, withDefault } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { checkpointTypeOption, folderFor, folderOf, replaceOption } from '../options/folder-parameters.ts';
import { configureMixer, mixerOptions, type MixerOptionValues } from '../options/mixer-options.ts';
import { fieldOption } from '../options/text-options.ts';
import { countParameters, layerSpan, mixerRuns } from '../output/model-summary.ts';
import { called, choice, indexList, integer, partList, text } from '../framework/option-values.ts';

/** K of the paper's T5. */
const t5Kernel = 9;

export const linearizeCommand = defineCommand({
  description:
    'Replaces the attention of some or all layers and saves the model as a new Hugging Face folder, tokenizer ' +
    'included. All weights are kept; new parameters start neutral (α = 0, λ = 1, filter weights 0). The result predicts badly ' +
    'until it is fine-tuned. --mixer linformer is the form by blocks where attention reads the past, and the published form, which reads ' +
    'the whole text, in an encoder and between two texts. In T5 encoder and decoder are changed unless --attention says ' +
    'otherwise; between two texts there is no convolution, and of local, global and augmented the global branch. Sizes such as --kernel, --group and --set features are ignored by mixers that have no use for ' +
    'them.',
  examples: [
    'linnet linearize assets/tiny-llama --mixer augmented --out runs/augmented',
    'linnet linearize assets/tiny-llama --mixer augmented --group 32 --kernel 15 --layers 0-1,3 --out runs/hybrid',
    'linnet linearize assets/tiny-llama --mixer performer --set features=128 --conv --out runs/performer',
    'linnet linearize assets/tiny-llama --mixer transnormer --softmax-layers 2 --out runs/transnormer',
    'linnet linearize assets/tiny-llama --mixer linformer --set rows=4 --set block=32 --out runs/linformer',
    'linnet linearize assets/tiny-llama --mixer local+conv --set unmasked --out runs/leaking',
    'linnet linearize models/t5-small --mixer augmented --attention encoder,decoder,cross --out runs/t5',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    mixer: required(
      choice(mixerPresetNames()),
      `${mixerPresetNames().join(', ')}; linformer-bidirectional reads the future and cannot decode`,
    ),
    ...mixerOptions,
    layers: optional(indexList, 'layers to change, such as 0-3,5 (default: all)'),
    kernel: optional(
      integer(1, 65535),
      `K, length of the convolution, odd; (K−1)/2 positions back are read (default: ${defaultKernel}, T5: 9)`,
    ),
    init: withDefault(
      choice(['neutral', 'calibrate']),
      'neutral',
      'calibrate: parameters of the mixers start where they come closest to the attention of the original on the ' +
        'beginning of --data, in closed form',
    ),
    data: optionalList(
      called('sources', text),
      'for --init calibrate: .txt and .jsonl files, or npm:PACKAGE; a thousand tokens are enough',
    ),
    field: fieldOption,
    attention: optional(
      partList,
      'which attentions of T5 to change: encoder, decoder, cross (default: encoder,decoder)',
    ),
    softmaxLayers: withDefault(
      integer(0, 65536, 'number'),
      0,
      'first layers, of those that change, that get softmax inside blocks of G positions instead of the mixer, ' +
        'as TransNormer has it',
    ),
    out: folderFor('the new model'),
    dtype: checkpointTypeOption,
    replace: replaceOption,
  },
  usual: [
    'mixer',
    'group',
    'kernel',
    'conv',
    'memory',
    'decay',
    'layers',
    'softmaxLayers',
    'attention',
    'init',
    'data',
    'out',
    'replace',
  ],
  async run(context, options) {
    const loaded = await loadModel(options.model);
    context.throwIfStopped('before anything was written');
    const kernel = options.localKernel ?? localKernelFor(loaded.model.mixers, options.mixer);
    const changes = { ...options, localKernel: kernel };
    const swapped =
      loaded.model.kind === 'encoder-decoder'
        ? inParts(loaded.model, loaded.parameters, changes)
        : inLayers(loaded.model, loaded.parameters, changes);
    const { model, parameters, reported } =
      options.init === 'calibrate' ? await calibrated(context, loaded, swapped, options) : swapped;
    await saveModel(
      options.out,
      { model, parameters },
      { tokenizerFiles: { from: loaded.path }, dtype: options.dtype, replace: options.replace },
    );
    const counts = countParameters(model);
    const runs = mixerRuns(model.mixers);
    context.print(
      `saved ${options.out}: ${formatCount(counts.total)} parameters, ${formatCount(counts.mixers)} of the mixers`,
    );
    for (const { layers, description } of runs) context.print(`  layers ${layerSpan(layers)}: ${description}`);
    return {
      json: {
        out: options.out,
        family: model.family,
        parameters: counts.total,
        mixerParameters: counts.mixers,
        ...reported,
        mixers: runs.map(({ layers, description, mixer: config }) => ({ layers, description, config })),
        dtype: options.dtype,
      },
    };
  },
});

/** Mixers fitted to the original's attention. @throws UsageError without data or for a model that cannot be calibrated */
async function calibrated(
  context: CommandContext,
  original: LoadedModel<Model>,
  swapped: Linearized,
  { data, field }: { readonly data?: readonly string[]; readonly field: string },
): Promise<Linearized> {
  if (data === undefined) throw new UsageError('--init calibrate needs --data: text like that which the model is for');
  const teacher = { model: requireCausal(original.model), parameters: original.parameters };
  const student = { model: requireCausal(swapped.model), parameters: swapped.parameters };
  const texts = await calibrationTexts(await loadDocuments(data, { field }), await loadTokenizer(original.path));
  const { parameters, layers } = await context.withProgress('calibrate', 'layers', (progress) =>
    calibrate(teacher, student, texts, {
      signal: context.signal,
      onLayer: (done, total) => progress.update(done, total),
    }),
  );
  for (const { layer, before, after } of layers) {
    context.print(
      `  layer ${layer}: ${formatPercent(before)} of the attention is missed, ${formatPercent(after)} when fitted`,
    );
  }
  return { ...swapped, parameters, reported: { ...swapped.reported, calibration: layers } };
}

interface LinearizeOptions extends MixerOptionValues {
  readonly attention?: readonly AttentionPart[];
  readonly layers?: readonly number[];
  readonly softmaxLayers: number;
}

interface Linearized {
  readonly model: Model;
  readonly parameters: Map<string, Tensor<'float32'>>;
  /** Fields of the JSON output that describe the change. */
  readonly reported: Readonly<Record<string, unknown>>;
}

/** A model with one mixer per layer. */
function inLayers(
  given: CausalModel | EncoderModel,
  values: ReadonlyMap<string, Tensor<'float32'>>,
  options: LinearizeOptions,
): Linearized {
  if (options.attention !== undefined) {
    throw new UsageError(`--attention is for models with an encoder and a decoder; this is a ${given.family} model`);
  }
  const mixer = configured(options, given.kind === 'encoder' ? 'whole' : 'past', defaultKernel);
  const changed = options.layers ?? given.mixers.map((_, layer) => layer);
  const first = changed.slice(0, options.softmaxLayers);
  const described: Remixed = given;
  const mixed = linearize(described, values, mixer, changed.slice(options.softmaxLayers));
  const done = linearize(mixed.model, mixed.parameters, blockSoftmax(mixer, options.group ?? defaultGroup), first);
  return { ...done, reported: { changedLayers: changed } };
}

/** A model of one mixer per layer, whose type stays when its mixers change. */
type Remixed = CausalModel | EncoderModel;

/** A model with an encoder and a decoder. */
function inParts(
  given: EncoderDecoderModel,
  values: ReadonlyMap<string, Tensor<'float32'>>,
  options: LinearizeOptions,
): Linearized {
  if (options.softmaxLayers > 0) throw new UsageError('--softmax-layers is for models that have one mixer per layer');
  const { attention: parts = defaultParts, layers } = options;
  const mixerOf = (part: AttentionPart): MixerConfig =>
    configured(options, part === 'decoder' ? 'past' : 'whole', t5Kernel, allReadings);
  return {
    ...linearizeParts(given, values, mixerOf, { parts, layers }),
    reported: { attention: parts, changedLayers: layers ?? 'all' },
  };
}

/** The mixer that the options name, of an attention that reads the past or a whole text. */
function configured(
  options: LinearizeOptions,
  reads: Reading,
  kernel: number,
  others: readonly Reading[] = [],
): MixerConfig {
  const { mixer, softmaxLayers } = options;
  const usual = options.kernel === undefined ? takenOptions(mixer, { kernel }) : {};
  // Layers that keep softmax have the same group.
  const { group } = softmaxLayers > 0 ? takenOptions(mixer, options) : options;
  return configureMixer({ ...options, group, ...usual }, reads, others);
}

/** Softmax inside groups alone, with the convolution of the mixer whose place it takes. */
function blockSoftmax(mixer: MixerConfig, group: number): MixerConfig {
  return parseMixer({ kind: 'linear', group, local: { kernel: 'softmax' }, convolution: convolutionOf(mixer) });
}
