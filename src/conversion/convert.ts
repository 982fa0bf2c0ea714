/**
 * One conversion, from a softmax model to a linearized one: chooses the mixer and the layers that keep softmax, starts in
 * closed form, then trains in stages, keeping each only if the judge finds the model better. Finally switches off branches
 * without which the judge finds it better.
 */
import { makeFolder } from '../files/atomic.ts';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Branch, branches, type MixerConfig } from '../attention/mixer.ts';
import { withoutBranch } from '../attention/mixers.ts';
import type { LoadedModel } from '../checkpoint/load-model.ts';
import type { AnyParameter } from '../checkpoint/stored-parameter.ts';
import type { Document } from '../data/documents/document.ts';
import { LinnetError, OptionsError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { RunFolder } from '../files/run-folder.ts';
import { recordFile } from '../report/record.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import { exchangeableLayers, modelWithout } from '../models/linearization/linearize.ts';
import { tokensBefore } from '../tokenizer/encode-text.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { calibrate } from './calibrate.ts';
import { isBetter, judgeOf, type ModelJudgement, ownTextFile } from './judge.ts';
import type { ConversionOptions } from './options.ts';
import { type ConversionProgress, newProgress, progressFile, type StageResult } from './progress-file.ts';
import { layersToKeep, layerSensitivity, sensitivityProbes } from './sensitivity.ts';
import { chooseMixer } from './plan.ts';
import { requireStages, type StageContext, trainStage } from './stage-training.ts';
import { type ConvertedWeights, readConverted, writeConverted } from './converted-weights.ts';
import { converted, type Original, sequences, trainingStages, type Weighted } from './stages.ts';
import { calibrationTexts, type ConversionTexts } from './texts.ts';
import { remove } from '../files/remove.ts';
import { requireOneWay } from '../jobs/result-store.ts';
import { selectParameters } from '../nn/parameters.ts';

/** @throws LinnetError `CONFIG` for a model that is already linearized: its conversion would be measured against itself */
export function requireOriginal({ model, path }: Pick<Original, 'model' | 'path'>): void {
  if (model.toJson().linnet === undefined) return;
  const kinds = [...new Set(model.mixers.map(({ kind }) => kind))];
  throw new LinnetError(
    'CONFIG',
    `${path} is linearized already (its layers are ${kinds.join(', ')}); convert the softmax model that it was made from, or ` +
      `train this one further: "linnet finetune ${path}", or "linnet distill ORIGINAL ${path}"`,
  );
}

/** A finished conversion. */
export interface Conversion<P extends AnyParameter = AnyParameter> extends Weighted<P> {
  /** The converted layers' mixer. */
  readonly mixer: MixerConfig;
  /** All stages' results. */
  readonly progress: ConversionProgress;
  /** With a share: the results of its layers, and of others' layers that have them. */
  readonly layers?: StageResult['layers'];
}

const bestFolder = 'best';
/** Branches a layer can do without; some mixers read nothing but the window. */
export const addedBranches = branches.filter((branch) => branch !== 'window');

/**
 * Converts a model. If its weights are in files (`ModelWeights.parameters`), measures and trains it layer by layer, and
 * returns weights in files.
 * @throws LinnetError `CONFIG` like `requireOriginal`, `PATH` for a folder that holds a conversion without `resume` or
 *   `replace`, `MISMATCH` if it holds another conversion, `CONFIG` for a stage over the memory limit, `ABORTED` by the
 *   signal; the folder then has all that a resumed conversion needs
 * @example const { model, parameters, progress } = await convert(original, tokenizer, texts, { budget: 600, keep: { auto: 1
 *   }, folder: 'runs/converted.run', }); console.log(model.mixers, parameters.size, progress.stages);
 */
export function convert(
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
): Promise<Conversion<Tensor<'float32'>>>;
export function convert(
  original: Original,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
): Promise<Conversion>;
export async function convert(
  original: Original,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
): Promise<Conversion> {
  requireOriginal(original);
  requireShare(options);
  const { folder, judge = 'both', seed, compile, signal, share } = options;
  const measured = { ...compile, signal };
  const identity = conversionIdentity(original, texts.training, options);
  if (share === undefined) requireStages(original, options);
  const { run, progress, planned } = await openConversion(options, identity, () =>
    begin(original, tokenizer, texts, options, identity),
  );
  const layers = exchangeableLayers(original.model).filter((layer) => !progress.keptLayers.includes(layer));
  const mixer = chooseMixer(original.model, options, layers.length);
  const start = converted(original, mixer, layers);
  const bestSoFar = bestOf(progress);
  let best: ConvertedWeights =
    bestSoFar === undefined ? start : await readConverted(weightsOf(folder, bestSoFar.name), original);
  await removeLeftOver(folder, progress);
  await options.onStart?.(progress.original, mixer);
  for (const result of progress.stages) options.onEvent?.({ kind: 'finished', result, resumed: true });

  const judged = judgeOf(original, tokenizer, texts, { judge, run, seed, compile, signal });
  const finish = async (
    name: string,
    trial: ConvertedWeights,
    started: number,
    { steps, layers }: Pick<StageResult, 'steps' | 'layers'> = { steps: 0 },
    known?: ModelJudgement,
  ): Promise<void> => {
    const judgement = known ?? (await judged(trial));
    const kept = isBetter(judge, judgement, bestOf(progress));
    const replaced = bestOf(progress)?.name;
    if (kept) {
      best = trial;
      await makeFolder(join(folder, bestFolder));
      await writeConverted(weightsOf(folder, name), original, trial);
    }
    const seconds = (performance.now() - started) / 1000;
    progress.stages.push({ name, ...judgement, seconds, steps, kept, layers });
    await run.write(progressFile, progress);
    // Until here the progress file names the previous weights: a killed process continues from them.
    if (kept && replaced !== undefined) await remove(weightsOf(folder, replaced));
    options.onEvent?.({ kind: 'finished', result: progress.stages[progress.stages.length - 1], resumed: false });
  };
  const isDone = (name: string): boolean => progress.stages.some((stage) => stage.name === name);

  if (!isDone('linearize')) await finish('linearize', start, performance.now());
  if (!isDone('calibrate')) {
    const started = performance.now();
    options.onEvent?.({
      kind: 'started',
      stage: 'calibrate',
      steps: 0,
      description: 'mixers are fitted in closed form',
    });
    const sample = await calibrationTexts(texts.training, tokenizer);
    const { parameters } = await calibrate(original, start, sample, measured);
    await finish('calibrate', { model: start.model, parameters }, started);
  }
  for (const stage of trainingStages) {
    if (isDone(stage.name)) continue;
    const started = performance.now();
    const trained = await trainStage(stage, {
      teacher: original,
      student: best,
      tokenizer,
      texts,
      options,
      origin: identity,
      folder: join(folder, stage.name),
      weights: weightsOf(folder, bestOf(progress)?.name ?? 'linearize'),
      planned,
    });
    if (share !== undefined) {
      for (const name of [stage.name, bestFolder, ownTextFile.file, progressFile.file]) {
        await remove(join(folder, name));
      }
      return { ...best, mixer, progress, layers: trained?.layers ?? [] };
    }
    if (trained !== undefined) {
      await finish(stage.name, { ...trained, model: start.model }, started, trained);
    }
    await remove(join(folder, stage.name));
  }
  // Tries every branch, and again after each removal: a harmless branch may do harm once another is gone.
  const last = addedBranches.findIndex((branch) => progress.stages.at(-1)?.name === `without ${branch}`);
  for (let at = last + 1, unharmful = 0; unharmful < addedBranches.length; at++) {
    const started = performance.now();
    const branch = addedBranches[at % addedBranches.length];
    const trial = withoutBranches(best, branch);
    const judgement = trial && (await judged(trial));
    if (trial !== undefined && judgement !== undefined && isBetter(judge, judgement, bestOf(progress))) {
      await finish(`without ${branch}`, trial, started, { steps: 0 }, judgement);
      unharmful = 0;
    } else unharmful++;
  }
  return { ...best, mixer: best.model.mixers[layers[0]] ?? mixer, progress };
}

/**
 * A conversion's progress in its folder: an earlier run's, or new.
 * @throws LinnetError `PATH` for a folder that holds a conversion without `resume` or `replace`, `MISMATCH` if it holds
 *   another conversion
 */
export async function openConversion(
  { folder, resume = false, replace = false }: Pick<ConversionOptions, 'folder' | 'resume' | 'replace'>,
  identity: string,
  begin: () => Promise<ConversionProgress>,
): Promise<Pick<StageContext, 'planned'> & { readonly run: RunFolder; readonly progress: ConversionProgress }> {
  const run = new RunFolder(folder);
  if (run.has(progressFile) && !resume && !replace) {
    throw new LinnetError(
      'PATH',
      `${folder} holds a conversion; continue it with \`resume\`, start over with \`replace\`, or name another folder`,
    );
  }
  if (replace && !resume && run.has(progressFile)) await forget(folder);
  const isThere = run.has(progressFile);
  await makeFolder(folder);
  // Without the progress file, nothing says whose text it is.
  if (!isThere) await remove(join(folder, ownTextFile.file));
  const progress = isThere ? await run.load(progressFile) : await begin();
  if (progress.identity !== identity) {
    throw new LinnetError(
      'MISMATCH',
      `${folder} holds a conversion of another model, data or options; name another folder`,
    );
  }
  if (!isThere) await run.write(progressFile, progress);
  return {
    run,
    progress,
    // Steps and micro-batches are planned once: a resumed stage uses the same.
    async planned(name, measure) {
      const steps = progress.planned[name] ?? (await measure());
      progress.planned[name] = steps;
      await run.write(progressFile, progress);
      return steps;
    },
  };
}

/** @throws OptionsError for a store without steps, on which results depend, and like `requireOneWay` */
function requireShare(options: ConversionOptions): void {
  const { store, steps, inputs } = options;
  if (store !== undefined && steps === undefined) {
    throw new OptionsError('`store` needs `steps`: machines differ in how many steps they make in a given time');
  }
  if (store !== undefined && inputs === 'converted') {
    throw new OptionsError('`store` is for layers that learn by themselves; omit `inputs`');
  }
  requireOneWay(options);
}

/** The model without a branch of its mixers; undefined if none has it. */
function withoutBranches(
  { model, parameters, updates }: ConvertedWeights,
  branch: Branch,
): ConvertedWeights | undefined {
  if (!model.mixers.some((mixer) => withoutBranch(mixer, branch) !== undefined)) return undefined;
  const rest = modelWithout(model, branch);
  return { model: rest, parameters: selectParameters(parameters, (name) => rest.parameters.has(name)), updates };
}

/**
 * Removes a conversion and its record from its folder, and nothing else; the progress goes last, since it marks the
 * conversion.
 */
export async function forget(folder: string): Promise<void> {
  const folders = [bestFolder, ...trainingStages.map(({ name }) => name)];
  const written = [...folders, ownTextFile.file, recordFile.file, progressFile.file];
  for (const name of written) await remove(join(folder, name));
}

/** Removes folders of finished stages and outdated weights, which a killed process leaves behind. */
async function removeLeftOver(folder: string, progress: ConversionProgress): Promise<void> {
  const best = bestOf(progress)?.name;
  const stale = progress.stages.flatMap(({ name }) => [
    join(folder, name),
    ...(name === best ? [] : [weightsOf(folder, name)]),
  ]);
  for (const path of stale) await remove(path);
}

/** Where a stage's weights are stored. */
function weightsOf(folder: string, stage: string): string {
  return join(folder, bestFolder, `${stage}.safetensors`);
}

/** The stage with the best weights so far. */
function bestOf({ stages }: ConversionProgress): StageResult | undefined {
  return stages.filter(({ kept }) => kept).at(-1);
}

/** Measures the original, and chooses the layers to keep. */
async function begin(
  original: Original,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
  identity: string,
): Promise<ConversionProgress> {
  const { keep, compile, signal, onEvent } = options;
  const measured = { ...compile, signal };
  const { perplexity: value } = await perplexity(original.model, original.parameters, texts.validation, measured);
  const start = { identity, original: value };
  if ('layers' in keep) return newProgress({ ...start, keptLayers: [...keep.layers], sensitivity: [] });
  if (keep.auto === 0) return newProgress({ ...start, keptLayers: [], sensitivity: [] });
  const sensitivity = await layerSensitivity(
    original,
    chooseMixer(original.model, options, exchangeableLayers(original.model).length - keep.auto),
    {
      texts: await calibrationTexts(texts.training, tokenizer),
      data: texts.validation,
      probes: sensitivityProbes(original.model, texts.validationTokens, tokensBefore(tokenizer)),
    },
    { ...measured, onLayer: (done, total) => onEvent?.({ kind: 'sensitivity', done, total }) },
  );
  return newProgress({ ...start, keptLayers: layersToKeep(sensitivity, keep.auto), sensitivity });
}

/** A conversion's identity. */
export function conversionIdentity(
  { fingerprint }: Pick<Original, 'fingerprint'>,
  training: readonly Document[],
  options: ConversionOptions,
): string {
  const { budget, steps, stateBytes, group, memory, sinks, keep, mixer, judge = 'both' } = options;
  const { batch = sequences, length, seed = 0 } = options;
  const chosen = {
    budget: steps === undefined ? budget : undefined,
    steps,
    stateBytes,
    group,
    memory,
    sinks,
    keep,
    mixer,
    inputs: options.inputs === 'converted' ? 'converted' : undefined,
    judge: judge === 'both' ? undefined : judge,
  };
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ fingerprint, ...chosen, batch, length, seed }));
  for (const { text } of training) hash.update(text);
  return hash.digest('hex');
}
