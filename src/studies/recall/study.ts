/** Models that learn associative recall from random weights, one per mixer and seed, and what each recalls in the end. */
import { createHash } from 'node:crypto';
import { AssociativeRecall } from '../../data/datasets/associative-recall.ts';
import { LinnetError } from '../../errors.ts';
import { associativeRecall, type AssociativeRecallResult } from '../../evaluation/recall/associative-recall.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import { train } from '../../training/trainer.ts';
import { startingAt } from './initial-values.ts';
import { recallConfigs, type RecallMethod, recallMethods, type RecallPlan } from './plan.ts';

/** What one model learned. */
export interface RecallTrial {
  readonly method: string;
  /** Of the plan's sizes; empty where it has none. */
  readonly size: string;
  readonly seed: number;
  /** What it was trained from and how, hashed: a trial of the same identity need not be run again. */
  readonly identity: string;
  /** Mean loss of the last tenth of the last lesson, in nats per answer. */
  readonly loss: number;
  readonly seconds: number;
  readonly tests: readonly AssociativeRecallResult[];
}

export interface RecallStudyOptions {
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  /** Trials of before, which are taken as they are where their identity is the same. */
  readonly known?: readonly RecallTrial[];
  /** Told of every optimizer step: share of the study done. */
  readonly onUpdate?: (method: string, seed: number, loss: number, share: number) => void;
  /** Told of every trial that was run, before the next begins. */
  readonly onTrial?: (trial: RecallTrial) => void | Promise<void>;
}

/** Seeds of test rows: far from those of lessons. */
const testSeed = 0x7e57;

/**
 * Runs a plan, seed by seed, size by size.
 * @throws LinnetError `CONFIG` for impossible models, `INPUT` for rows that do not fit the vocabulary, `ABORTED` when the
 *   signal fires
 */
export async function runRecallStudy(plan: RecallPlan, options: RecallStudyOptions = {}): Promise<RecallTrial[]> {
  const methods = recallMethods(plan);
  const configs = recallConfigs(plan);
  const trials: RecallTrial[] = [];
  const total = plan.seeds.length * configs.size * methods.size;
  for (const seed of plan.seeds) {
    for (const [size, config] of configs) {
      for (const [method, choice] of methods) {
        const sized = { ...plan, config };
        const identity = trialIdentity(sized, choice, seed);
        const known = options.known?.find((trial) => trial.identity === identity);
        if (known !== undefined) {
          trials.push({ ...known, method, size });
          continue;
        }
        const onStep = (loss: number, share: number): void =>
          options.onUpdate?.(named(method, size), seed, loss, (trials.length + share) / total);
        const trial = { method, size, seed, identity, ...(await runTrial(sized, choice, seed, options, onStep)) };
        trials.push(trial);
        await options.onTrial?.(trial);
      }
    }
  }
  return trials;
}

/** "softmax", or "softmax, width 32" in a plan with sizes. */
export function named(method: string, size: string): string {
  return size === '' ? method : `${method}, ${size}`;
}

/** Of all that a trial depends on. */
function trialIdentity(
  { config, deviation, lessons, tests }: RecallPlan,
  { mixer, first, initial }: RecallMethod,
  seed: number,
): string {
  const parts = [
    1,
    config,
    deviation ?? null,
    lessons,
    tests,
    mixer,
    seed,
    ...(initial === undefined ? [] : [initial]),
    ...(first === undefined ? [] : [first]),
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

async function runTrial(
  { config, deviation, lessons, tests }: RecallPlan,
  { mixer, first, initial }: RecallMethod,
  seed: number,
  { compile, signal }: RecallStudyOptions,
  onStep: (loss: number, share: number) => void,
): Promise<Pick<RecallTrial, 'loss' | 'seconds' | 'tests'>> {
  const started = performance.now();
  const plain = describeCausalModel(config);
  const model = plain.withMixers(plain.mixers.map((_, layer) => (layer === 0 ? (first ?? mixer) : mixer)));
  const { vocabulary } = model.sizes;
  let parameters: ReadonlyMap<string, Tensor<'float32'>> = startingAt(
    initializeParameters(model, new Random(seed), deviation),
    initial,
  );
  let loss = Number.NaN;
  const steps = lessons.reduce((sum, lesson) => sum + lesson.steps, 0);
  let done = 0;
  for (const [index, { length, pairs, steps: lessonSteps, batch, learningRate }] of lessons.entries()) {
    const outcome = await train({
      model,
      objective: causalObjective(model, length),
      parameters,
      dataset: new AssociativeRecall({ vocabulary, length, pairs, rows: 1024 * batch, seed: 1000 * seed + index }),
      settings: parseTrainingSettings({
        ...{ length, batch, learningRate, seed, steps: lessonSteps },
        ...{ schedule: 'cosine', warmupShare: 0.1, beta2: 0.95 },
      }),
      compile,
      signal,
      onUpdate: (event) => {
        onStep(event.loss, ++done / steps);
      },
    });
    if (!outcome.finished) throw new LinnetError('ABORTED', `stopped in lesson ${index + 1} of ${lessons.length}`);
    ({ parameters } = outcome);
    loss = outcome.loss ?? loss;
  }
  const results: AssociativeRecallResult[] = [];
  for (const { length, pairs, rows } of tests) {
    const data = new AssociativeRecall({ vocabulary, length, pairs, rows, seed: testSeed });
    results.push(await associativeRecall(model, parameters, data, { ...compile, signal }));
  }
  return { loss, seconds: (performance.now() - started) / 1000, tests: results };
}
