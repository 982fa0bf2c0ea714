/** A study of classifiers: prepared from its plan, run trial by trial, and continued where it was stopped. */
import { dirname, isAbsolute, resolve } from 'node:path';
import { loadModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { describeModel } from '../../models/families/index.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { withRecipe } from '../../training/recipes.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import type { UpdateEvent } from '../../training/trainer.ts';
import { requireVocabulary } from '../sweep/study.ts';
import type { ClassificationModel, ClassificationPlan } from './plan.ts';
import { type ClassificationFolder, classificationName, type StoredClassification } from './results.ts';
import { readTaskRows, type TaskRows } from './rows.ts';
import {
  classificationIdentity,
  type ClassificationTrial,
  type ClassifierBase,
  runClassificationTrial,
} from './trial.ts';

/** A plan with everything it names. */
export interface ClassificationStudy {
  readonly plan: ClassificationPlan;
  readonly tasks: readonly TaskRows[];
  /** By model, task, method and seed, in the order of the plan. */
  readonly trials: readonly ClassificationTrial[];
}

/**
 * Loads what a plan names. Relative paths count from the folder of the plan.
 * @throws LinnetError as `readTaskRows`, and `CONFIG` for an impossible model, method or setting
 */
export async function prepareClassification(plan: ClassificationPlan, planFile: string): Promise<ClassificationStudy> {
  const place = (path: string): string => (isAbsolute(path) ? path : resolve(dirname(planFile), path));
  const tasks = await readTaskRows(plan, place);
  const trials: ClassificationTrial[] = [];
  for (const [model, described] of Object.entries(plan.models)) {
    const base = await openBase(model, described, place);
    for (const rows of tasks) {
      for (const [method, mixer] of Object.entries(plan.methods)) {
        for (const seed of plan.seeds) {
          const { recipe, ...given } = { ...plan.training, ...described.training };
          const settings = parseTrainingSettings(withRecipe(recipe, { ...given, seed }));
          trials.push({ model, method, seed, base, mixer, rows, settings });
        }
      }
    }
  }
  return { plan, tasks, trials };
}

async function openBase(
  name: string,
  { folder, config = {}, tokenizer: tokenizerFolder = '', form }: ClassificationModel,
  place: (path: string) => string,
): Promise<ClassifierBase> {
  if (folder !== undefined) {
    const loaded = await loadModel(place(folder));
    return { kind: 'pretrained', loaded, tokenizer: await loadTokenizer(loaded.path), form };
  }
  const tokenizer = await loadTokenizer(place(tokenizerFolder));
  requireVocabulary(name, describeModel(config), tokenizer);
  return { kind: 'scratch', config, tokenizer, form };
}

export interface ClassificationStudyOptions {
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  /** Optimizer steps between two snapshots of a trial. Default 200. */
  readonly snapshotEvery?: number;
  readonly onUpdate?: (trial: ClassificationTrial, event: UpdateEvent, done: number) => void;
  /** Called for every result; `known` if it was measured before. */
  readonly onResult?: (result: StoredClassification, known: boolean, done: number) => void;
}

/**
 * Runs the trials that have no result yet. Stopped, it goes on where it was when called again: inside a trial from its
 * newest snapshot.
 * @throws LinnetError `ABORTED` when the signal fires, `MISMATCH` for results of another plan in the folder
 */
export async function runClassification(
  { trials }: ClassificationStudy,
  folder: ClassificationFolder,
  { compile, signal, snapshotEvery = 200, onUpdate, onResult }: ClassificationStudyOptions = {},
): Promise<StoredClassification[]> {
  const results: StoredClassification[] = [];
  for (const trial of trials) {
    const { model, method, seed, rows } = trial;
    const place = { model, task: rows.task.name, method, seed };
    const name = classificationName(place);
    const identity = classificationIdentity(trial);
    const known = await folder.find(name, identity);
    if (known === undefined && signal?.aborted === true) {
      throw new LinnetError('ABORTED', `stopped after ${results.length} of ${trials.length} trials`);
    }
    const result =
      known ??
      (await folder.store(name, identity, {
        ...place,
        ...(await runClassificationTrial(trial, {
          snapshots: { folder: folder.snapshotFolder(name), every: snapshotEvery },
          compile,
          signal,
          onUpdate: (event) => onUpdate?.(trial, event, results.length),
        })),
      }));
    results.push(result);
    onResult?.(result, known !== undefined, results.length);
  }
  return results;
}
