/** `linnet linearize`: swaps the mixers of a model and saves the result, ready for fine-tuning. */
import { requireRunning } from '../../errors.ts';
import { mixerPresetNames, presetShapes } from '../../attention/presets.ts';
import { memoryNames } from '../../attention/kinds/window/config.ts';
import { type ModelWeights, openModelWeights, readParameters, saveModel } from '../../checkpoint/load-model.ts';
import { type AnyParameter, segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { calibrate, calibrationMemory } from '../../conversion/calibrate.ts';
import { calibrated, calibrationTexts } from '../../conversion/texts.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { requireCausal } from '../../models/families/index.ts';
import {
  defaultParts,
  exchangeByName,
  exchangeableLayers,
  exchangedParameters,
} from '../../models/linearization/linearize.ts';
import type { Model } from '../../models/model.ts';
import { chooseForm, copyMemory, type FormPlan, type MemoryForm } from '../../training/memory-form.ts';
import { formatCount, formatPercent } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { defineCommand, optional, optionalList, required, withDefault, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { checkpointTypeOption, folderFor, folderOf, replaceOption } from '../options/model-options.ts';
import { windowMemoryOptions } from '../options/memory-option.ts';
import { optionsOf } from '../framework/schema-options.ts';
import { fieldOption } from '../options/text-options.ts';
import { reportForms } from '../output/training-report.ts';
import { countParameters, layerSpan, mixerRuns } from '../output/model-summary.ts';
import { called, choice, indexList, integer, partList, text } from '../framework/option-values.ts';

const { group, kernel, convolution, memory: _, decay, ...refinements } = optionsOf(presetShapes());

/** Errors name the library's options, in which `memory` is a window's. */
const limitFlag = '--memory';

export const linearizeCommand = defineCommand({
  description:
    'Replaces the attention of some or all layers and saves the model as a new Hugging Face folder, tokenizer included. All weights are kept; new ' +
    'parameters start neutral (α = 0, λ = 1, filter weights 0). The result predicts badly until it is fine-tuned. --mixer linformer uses the block ' +
    'form for causal attention, and the published form, which reads the whole text, in encoders and between two texts. In T5, encoder and decoder ' +
    'change unless --attention says otherwise; attention between two texts has no convolution, and uses only the global branch of local, global and ' +
    'augmented. Mixers ignore sizes they do not use, such as --kernel, --group and --features.',
  examples: [
    'linnet linearize linnet:tiny-llama --mixer augmented --out runs/augmented',
    'linnet linearize linnet:tiny-llama --mixer augmented --group 32 --kernel 15 --layers 0-1,3 --out runs/hybrid',
    'linnet linearize linnet:tiny-llama --mixer performer --features 128 --convolution --out runs/performer',
    'linnet linearize linnet:tiny-llama --mixer transnormer --softmax-layers 2 --out runs/transnormer',
    'linnet linearize linnet:tiny-llama --mixer linformer --rows 4 --block 32 --out runs/linformer',
    'linnet linearize linnet:tiny-llama --mixer local+conv --unmasked --out runs/leaking',
    'linnet linearize models/t5-small --mixer augmented --attention encoder,decoder,cross --out runs/t5',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    mixer: required(
      choice(mixerPresetNames()),
      `${mixerPresetNames().join(', ')}; linformer-bidirectional reads the future and cannot decode`,
    ),
    group,
    kernel,
    convolution,
    ...windowMemoryOptions(memoryNames),
    decay,
    layers: optional(indexList, 'layers to change, such as 0-3,5 (default: all)'),
    init: withDefault(
      choice(['neutral', 'calibrate']),
      'neutral',
      'calibrate: fit the mixers to the original attention on the beginning of --data, in closed form',
    ),
    data: optionalList(
      called('sources', text),
      'for --init calibrate: .txt and .jsonl files, or npm:PACKAGE; a thousand tokens are enough',
    ),
    attention: optional(partList, 'T5 attentions to change: encoder, decoder, cross (default: encoder,decoder)'),
    softmaxLayers: withDefault(
      integer(0, 65536, 'number'),
      0,
      'how many of the first changed layers get softmax within blocks of G positions instead of the mixer, as in ' +
        'TransNormer',
    ),
    out: folderFor('the new model'),
    replace: replaceOption,
    ...settings({ ...refinements, field: fieldOption, dtype: checkpointTypeOption }),
  },
  replaced: { '--conv': '--convolution' },
  flags: { memory: '--window-memory' },
  async run(context, { model: folder, mixer, init, data, field, out, dtype, replace, memory: limit, plan, ...rest }) {
    const { windowMemory: memory, ...others } = rest;
    const changes = { ...others, memory };
    await using weights = await openModelWeights(folder);
    const { model: original, path } = weights;
    const model = exchangeByName(original, mixer, changes);
    const copy = chooseForm('a copy', { layers: copyMemory(original, model) }, limit, [], limitFlag);
    const calibrating = init === 'calibrate' ? planCalibration(weights, limit) : undefined;
    if (plan) {
      const stages = [{ name: 'copy', ...copy }, ...(calibrating ? [{ name: 'calibrate', ...calibrating }] : [])];
      return reportForms(context, stages, limit);
    }
    const { attention, layers } = changes;
    const changed =
      original.kind === 'encoder-decoder'
        ? { attention: attention ?? defaultParts, changedLayers: layers ?? 'all' }
        : { changedLayers: layers ?? exchangeableLayers(original) };
    const calibration =
      calibrating && (await calibratedMixers(context, weights, model, { data, field, form: calibrating.form }));
    const { signal } = context;
    requireRunning(signal, 'before anything was written');
    const parameters = calibration?.parameters ?? exchangedParameters(original, model, weights.parameters);
    await saveModel(out, { model, parameters }, { tokenizerFiles: { from: path }, dtype, replace, signal });
    const counts = countParameters(model);
    const runs = mixerRuns(model.mixers);
    context.print(`saved ${out}: ${formatCount(counts.total)} parameters, ${formatCount(counts.mixers)} in mixers`);
    for (const { layers, description } of runs) context.print(`  layers ${layerSpan(layers)}: ${description}`);
    return {
      json: {
        out,
        family: model.family,
        parameters: counts.total,
        mixerParameters: counts.mixers,
        dtype,
        ...changed,
        calibration: calibration?.layers,
        mixers: runs,
      },
    };
  },
});

function planCalibration({ model, parameters }: ModelWeights, limit: number | undefined): FormPlan {
  const bytes = calibrationMemory(requireCausal(model), calibrated, segmentWeights(parameters));
  return chooseForm('calibration', bytes, limit, ['`init` neutral'], limitFlag);
}

/** Mixers fitted to the original's attention. @throws UsageError without data, LinnetError for a model that cannot be calibrated */
async function calibratedMixers(
  context: CommandContext,
  original: ModelWeights,
  changed: Model,
  { data, field, form }: { readonly data?: readonly string[]; readonly field: string; readonly form: MemoryForm },
) {
  if (data === undefined) throw new UsageError("--init calibrate needs --data: text similar to the model's use");
  const model = requireCausal(original.model);
  const texts = await calibrationTexts(await loadDocuments(data, { field }), await loadTokenizer(original.path));
  const all: ReadonlyMap<string, AnyParameter> =
    form === 'whole' ? await readParameters(original) : original.parameters;
  const teacher = { model, parameters: all };
  const student = { model: requireCausal(changed), parameters: exchangedParameters(model, changed, all) };
  const { parameters, layers } = await context.withProgress('calibrate', 'layers', ({ signal, onProgress }) =>
    calibrate(teacher, student, texts, { signal, onLayer: onProgress }),
  );
  for (const { layer, before, after } of layers) {
    const fitted = `${formatPercent(after)} when fitted`;
    context.print(`  layer ${layer}: ${formatPercent(before)} of the attention is missed, ${fitted}`);
  }
  return { parameters, layers };
}
