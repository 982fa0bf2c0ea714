/**
 * A study: a plan names trials, each trial is measured by itself, and all results together make a report. The measurements
 * are a `StudyDefinition`; how trials are run, kept, continued and reported is the same for all (run-study.ts).
 */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError, type Stoppable } from '../../errors.ts';
import { validated } from '../../files/schema-problems.ts';
import { modelHere } from '../../open/model-names.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { UpdateEvent } from '../../training/trainer.ts';
import type { StudyReport } from './study-report.ts';
import { sha256 } from '../../files/digest.ts';

/** Place of a trial in its study: the names and numbers that the plan gives it. */
export type TrialPlace = Readonly<Record<string, string | number | boolean | undefined>>;

export type TrialUpdate = Pick<UpdateEvent, 'update' | 'total' | 'loss'> & Partial<UpdateEvent>;

export interface TrialHooks extends Stoppable {
  /** Bytes of a training. Default: as `memoryLimit`. */
  readonly memory?: number;
  readonly compile?: CompileOptions;
  /** Snapshot folder for continuing the trial; absent if the study has no folder. */
  readonly snapshots?: { readonly folder: string; readonly every: number };
  readonly onUpdate?: (update: TrialUpdate) => void;
}

/**
 * Where a plan comes from: its name in errors, the place of a path in it, which counts from the folder of the plan, and the
 * folders of tokenizers and models by their names, as in commands.
 */
export interface PlanSource {
  readonly name: string;
  /** A path in the plan, from the plan's folder; corpora and stdin as they are. */
  readonly place: (path: string) => string;
  readonly tokenizer: (name: string) => Promise<string>;
  readonly model: PlanSource['tokenizer'];
}

/** Refuses the folder of a model that does not fit into memory. */
export type ModelCheck = (folder: string) => Promise<unknown>;

/** @param file the plan's file; without one, paths count from the current folder. @param check checks models before they are opened */
export function planSource(file?: string, check?: ModelCheck): PlanSource {
  const folder = file === undefined ? '.' : dirname(file);
  return {
    name: file ?? 'the plan',
    place: (path) => (/^(npm:|-$)/.test(path) ? path : resolve(folder, path)),
    tokenizer: (name) => modelHere(name, folder),
    async model(name) {
      const found = await modelHere(name, folder);
      await check?.(found);
      return found;
    },
  };
}

/** The trials of a plan, with the models and texts that they share. */
export interface Trials<Trial> extends Partial<AsyncDisposable> {
  readonly trials: readonly Trial[];
  /** Said before the first of them. */
  readonly note?: string;
}

interface PlanShape {
  readonly shape: Readonly<Record<string, z.ZodType>>;
}

/** The measurements of a study. `Measured` is kept of each trial, next to its place. */
export interface StudyDefinition<Plan extends object, Trial, Place extends TrialPlace, Measured extends object> {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly [string, ...string[]];
  /** An object, or one of several. */
  readonly plan: z.ZodType<Plan> & (PlanShape | { readonly options: readonly PlanShape[] });
  readonly measured: z.ZodType<Measured>;
  /** Loads the models and texts of a plan. @throws LinnetError for models and texts that cannot be loaded or run */
  readonly load: (plan: Plan, source: PlanSource, compile?: CompileOptions) => Promise<Trials<Trial>>;
  readonly place: (trial: Trial) => Place;
  /** SHA-256 of everything that decides the result. */
  readonly identity: (trial: Trial) => string | Promise<string>;
  /** Measures a trial. @throws LinnetError `ABORTED` when the signal fires */
  readonly run: (trial: Trial, hooks: TrialHooks) => Promise<Measured>;
  /** The numbers printed for a finished result. */
  readonly figures: (measured: Measured) => Readonly<Record<string, number>>;
  readonly report: (
    results: readonly (Place & Measured)[],
    about: { readonly plan: Plan; readonly trials: readonly Trial[] },
  ) => StudyReport | Promise<StudyReport>;
}

/** A number of a result: JSON has no NaN and no infinities, and writes null. */
export const measuredNumber = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

/** Names of models, methods and tasks in plans. */
export const planName = z
  .string()
  .regex(/^[\p{L}\d][\p{L}\d+·. -]{0,62}$/u, 'a name of at most 63 letters, digits, spaces and + - . ·');

/** Things of a plan by name, at least one. */
export function byName<Schema extends z.ZodType>(schema: Schema) {
  return z.record(planName, schema).refine((all) => Object.keys(all).length > 0, 'name at least one');
}

export const planVersion = z.literal(1).default(1);

/** A plan's distinct seeds. */
export const planSeeds = z
  .array(z.int().min(0))
  .min(1)
  .superRefine((seeds, context) => {
    if (new Set(seeds).size === seeds.length) return;
    context.addIssue({ code: 'custom', message: `a seed is listed twice in ${seeds.join(', ')}` });
  });

/** Fills in the defaults of a plan. @throws LinnetError `CONFIG` naming every wrong field */
export function parsePlan<Plan>(
  { name, plan }: { readonly name: string; readonly plan: z.ZodType<Plan> },
  json: unknown,
  source: string,
): Plan {
  return validated(plan, json, 'CONFIG', `${source} is not a plan of the study "${name}"`);
}

/** Runs work for one entry of a plan; its name prefixes errors. */
export function naming<T>(entry: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    throw new LinnetError(error.code, `${entry}: ${error.message}`, { cause: error });
  }
}

/** A place in words: `small`, `softmax`, `plain`, `seed 1`. */
export function placeWords(place: TrialPlace): string[] {
  return Object.entries(place).flatMap(([name, value]) => {
    if (value === undefined || value === '') return [];
    if (typeof value === 'number') return [`${name} ${value}`];
    if (typeof value === 'boolean') return [value ? name : 'plain'];
    return [value];
  });
}

/** File name of a trial, without its ending. Names in plans have no underscore, so that file names stay distinct. */
export function trialName(place: TrialPlace): string {
  return placeWords(place)
    .map((word) => word.replace(/[^\p{L}\d+.·-]/gu, '_'))
    .join('--');
}

/** SHA-256, in hex, of values as JSON. */
export function trialIdentity(...parts: readonly unknown[]): string {
  return sha256(parts.map((part) => JSON.stringify(part)).join(''));
}
