/** A whole study: the plan's text and models are loaded once, and its trials run one after the other. */
import { dirname, isAbsolute, resolve } from 'node:path';
import { loadModel } from '../../checkpoint/load-model.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { splitDocuments } from '../../data/documents/split.ts';
import { LinnetError } from '../../errors.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { requireFeasible } from '../../training/plans/effort.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import { totalUpdates } from '../../training/trainer.ts';
import type { UpdateEvent } from '../../training/trainer.ts';
import { type SweepModel, type SweepPlan, sweepVariants } from './plan.ts';
import { type StoredTrial, type SweepFolder, trialName } from './results.ts';
import { studyText, type StudyText, textKey } from './text.ts';
import { runTrial, type SweepBase, type Trial, trialIdentity } from './trial.ts';

/** A plan with everything it names. */
export interface Study {
  readonly plan: SweepPlan;
  readonly trials: readonly Trial[];
  /** Tokens of held-out text that are scored, of the first model. */
  readonly heldOutTokens: number;
}

/**
 * Loads what a plan names. Relative paths of folders count from the folder of the plan; sources of text are as for training.
 * @throws LinnetError `CONFIG` for an impossible method, model or setting, `INPUT` or `NOT_FOUND` for the text
 */
export async function prepareStudy(plan: SweepPlan, planFile: string): Promise<Study> {
  const place = (path: string): string => (isAbsolute(path) ? path : resolve(dirname(planFile), path));
  const tokenizer = await loadTokenizer(place(plan.tokenizer));
  const documents = await loadDocuments(plan.data, { field: plan.field });
  const split = splitDocuments(documents, { heldOut: plan.heldOut });
  const texts = new Map<string, StudyText>();
  const trials: Trial[] = [];
  for (const [model, choice] of Object.entries(plan.models)) {
    const base = await openBase(choice, tokenizer, place);
    const described = base.kind === 'scratch' ? describeModel(base.config) : base.loaded.model;
    requireVocabulary(model, described, tokenizer);
    for (const seed of plan.seeds) {
      const settings = parseTrainingSettings({ ...plan.training, ...choice.training, seed });
      const { length } = settings;
      const key = textKey(described, length);
      const text = texts.get(key) ?? (await studyText(described, tokenizer, split, { length, windows: plan.windows }));
      texts.set(key, text);
      requireFeasible(described, settings, totalUpdates(text.dataset, settings));
      for (const variant of sweepVariants(plan)) trials.push({ ...variant, model, seed, base, settings, text });
    }
  }
  return { plan, trials, heldOutTokens: trials[0].text.scored };
}

async function openBase(
  { config, folder }: SweepModel,
  { bosId, eosId }: Tokenizer,
  place: (path: string) => string,
): Promise<SweepBase> {
  if (folder !== undefined) return { kind: 'converted', loaded: await loadModel(place(folder)) };
  const special = {
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosId !== undefined && { eos_token_id: eosId }),
  };
  return { kind: 'scratch', config: config?.model_type === 'flash' ? { ...config } : { ...special, ...config } };
}

/** @throws LinnetError `MISMATCH` for a model whose vocabulary is smaller than that of its tokenizer */
export function requireVocabulary(name: string, { sizes }: Pick<Model, 'sizes'>, tokenizer: Tokenizer): void {
  if (tokenizer.vocabularySize <= sizes.vocabulary) return;
  throw new LinnetError(
    'MISMATCH',
    `the tokenizer has ${tokenizer.vocabularySize} tokens, the vocabulary of model "${name}" is ${sizes.vocabulary}`,
  );
}

export interface StudyProgress {
  /** Trials with a result, those of earlier runs included. */
  readonly done: number;
  readonly total: number;
}

export interface StudyOptions {
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  /** Optimizer steps between two snapshots of a trial. Default 200. */
  readonly snapshotEvery?: number;
  readonly onUpdate?: (trial: Trial, event: UpdateEvent, progress: StudyProgress) => void;
  /** Called for every result; `known` if it was measured before. */
  readonly onResult?: (result: StoredTrial, known: boolean, progress: StudyProgress) => void;
}

/** A trial without a result. */
export interface OpenTrial {
  readonly trial: Trial;
  readonly identity: string;
}

/** What a study has, and what it is still to run. Results are in the order of the plan. */
export interface OpenStudy {
  readonly results: (StoredTrial | undefined)[];
  readonly open: readonly (OpenTrial & { readonly index: number })[];
}

/**
 * Finds the results of earlier runs.
 * @throws LinnetError `MISMATCH` for results of another plan in the folder
 */
export async function openStudy(study: Study, folder: SweepFolder): Promise<OpenStudy> {
  const all = study.trials.map((trial, index) => ({ trial, index, identity: trialIdentity(trial) }));
  const results = await Promise.all(all.map(({ trial, identity }) => folder.find(trialName(trial), identity)));
  return { results, open: all.filter(({ index }) => results[index] === undefined) };
}

/**
 * Runs the trials that have no result yet, in the order of the plan, seeds outermost after the model. Stopped, it goes on
 * where it was when called again: inside a trial from its newest snapshot.
 * @throws LinnetError `ABORTED` when the signal fires, `MISMATCH` for results of another plan in the folder
 */
export async function runStudy(study: Study, folder: SweepFolder, options: StudyOptions = {}): Promise<StoredTrial[]> {
  const { compile, signal, snapshotEvery = 200 } = options;
  const total = study.trials.length;
  const results: StoredTrial[] = [];
  const { results: known } = await openStudy(study, folder);
  for (const [index, trial] of study.trials.entries()) {
    const earlier = known[index];
    if (earlier !== undefined) {
      results.push(earlier);
      options.onResult?.(earlier, true, { done: results.length, total });
      continue;
    }
    if (signal?.aborted === true)
      throw new LinnetError('ABORTED', `stopped after ${results.length} of ${total} trials`);
    const measured = await runTrial(trial, {
      snapshots: { folder: folder.snapshotFolder(trialName(trial)), every: snapshotEvery },
      compile,
      signal,
      onUpdate: (event) => options.onUpdate?.(trial, event, { done: results.length, total }),
    });
    const { model, method, augmented, seed } = trial;
    const result = { model, method, augmented, seed, ...measured };
    const stored = await folder.store(trialName(trial), trialIdentity(trial), result);
    results.push(stored);
    options.onResult?.(stored, false, { done: results.length, total });
  }
  return results;
}
