/** Distillation: the mixers of a converted model learn to imitate the attention of the original, or the model its predictions. */
import { z } from 'zod';
import { loadCausalModel, loadCausalShapes } from '../../checkpoint/load-model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import {
  attentionParameters,
  transferObjective,
  transferParameters,
  transferredLayers,
  transferredParameters,
} from '../objectives/distillation.ts';
import {
  openCachedLogits,
  cachedLogitsBytes,
  cachedLogitsObjective,
  teacherBytes,
  usualTop,
} from '../objectives/cached-logits.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import { OptionsError } from '../../errors.ts';
import { logitsObjective } from '../objectives/logits.ts';
import {
  memoryLimit,
  parseOptions,
  recomputeShape,
  refuseLabelSmoothing,
  settingsOf,
  trainingShape,
} from './options.ts';
import { described, type TrainingSettings } from '../settings.ts';
import { requireFit } from '../step-cost.ts';
import { totalUpdates } from '../trainer.ts';
import { modelPlan, planTraining, type TrainingPlan, type WorkPlan } from './plan.ts';
import { resumedConfiguration, runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { loadPackedText } from './text.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';

export const transferShape = {
  ...recomputeShape,
  stage: z
    .enum(['attention', 'logits'])
    .default('attention')
    .meta({
      description:
        'attention: every layer by itself mixes as the original does; logits: the model predicts what the original predicts, ' +
        'all of the changed attention is trained',
    }),
  teacherTop: described(
    z.int().min(0).max(4096).optional(),
    'count',
    'stage logits: most likely tokens of the original that are kept of every position, 6 bytes each, so that it reads a row once; ' +
      '0 keeps none, and compares all tokens in every step',
    'where rows are read more than once 64, else 0',
  ),
  trainQk: z.boolean().default(false).meta({ description: 'train the projections to queries and keys too' }),
};
const distillSchema = z.strictObject({ ...transferShape, ...trainingShape });
/** The options of `distill`; all but `data` and `out` may be left out. */
export type DistillOptions = z.input<typeof distillSchema>;

/** Further results about a distilled model. */
export interface DistillDetails {
  /** The layers that learned, counted from 0. */
  readonly layers: readonly number[];
}

/**
 * In stage `attention` (the default), in every layer whose mixer differs, the student learns to mix the same queries, keys
 * and values to the same result as the teacher (Hedgehog, arXiv 2402.04347). Parameters of mixers are trained, with `trainQk`
 * also the projections to queries and keys. In stage `logits` the student learns the teacher's predictions, by their
 * divergence; all parameters of the changed attention are trained.
 *
 * @param teacher folder of the original model
 * @param student folder of the result of `linearize`
 * @throws OptionsError and LinnetError as `finetune`; `MISMATCH` for models that differ in more than their mixers
 * @example
 * const { details } = await distill('models/llama', 'runs/hedgehog', {
 *   data: ['book.txt'], steps: 100, learningRate: 1e-2, out: 'runs/distilled',
 * });
 */
export async function distill(
  teacher: string,
  student: string,
  options: DistillOptions,
  hooks: TrainingHooks = {},
): Promise<TrainingResult<DistillDetails>> {
  requirePath(teacher, 'the teacher');
  requirePath(student, 'the student');
  requireOptions(hooks, 'the hooks');
  const { parsed, settings, prepare } = distillation(teacher, student, options);
  return await runPlan<DistillDetails>(parsed, hooks, settings, prepare());
}

/** Memory, disk and time of the same; no weights are read. @throws OptionsError and LinnetError as `distill` */
export async function planDistill(teacher: string, student: string, options: DistillOptions): Promise<WorkPlan> {
  const { parsed, settings, prepare } = distillation(teacher, student, options);
  return await planTraining('distill', await prepare(loadCausalShapes)(settings), parsed, settings);
}

function distillation(teacher: string, student: string, options: DistillOptions) {
  const parsed = parseOptions(distillSchema, options);
  const checked = settingsOf(parsed);
  if (parsed.recompute && parsed.stage !== 'logits') throw new OptionsError('`recompute` is of stage logits');
  refuseLabelSmoothing(checked);
  const prepare =
    (load = loadCausalModel) =>
    async (settings: TrainingSettings): Promise<TrainingPlan<DistillDetails>> => {
      const { stage, trainQk } = parsed;
      const [{ model: original }, { model, path }] = [await loadCausalShapes(teacher), await loadCausalShapes(student)];
      const trained =
        stage === 'logits'
          ? attentionParameters(original, model)
          : transferredParameters(original, model, { queriesAndKeys: trainQk });
      const trainable = (name: string): boolean => trained.has(name);
      const layers = transferredLayers(original, model);
      const text = await loadPackedText(parsed, settings, await loadTokenizer(path));
      const { dataset, heldOutRows, summary, configuration } = text;
      const { length } = settings;
      const learner = parsed.recompute ? recomputing(model) : model;
      const exact = (stage === 'logits' ? logitsObjective : transferObjective)(original, learner, length, trained);
      const isRepeated = totalUpdates(dataset, settings) * settings.batch > dataset.rows;
      // A run keeps its objective, also where other steps are asked for when it is resumed.
      const recorded = z
        .int()
        .optional()
        .catch(undefined)
        .parse((await resumedConfiguration(parsed)).teacherTop);
      const { teacherTop = recorded ?? (isRepeated ? usualTop : 0) } = parsed;
      const k = stage === 'logits' ? Math.min(teacherTop, model.sizes.vocabulary) : 0;
      const isCached = k > 0;
      const objective = isCached ? cachedLogitsObjective(learner, length, k) : exact;
      const otherWeightBytes = isCached ? teacherBytes(original, trained) : 0;
      const step = { model, objective, trainable, otherWeightBytes };
      requireFit({ ...step, parameters: new Map(), settings }, memoryLimit(parsed.memory)); // before weights are read
      const [{ parameters: taught, fingerprint, path: from }, converted] = [await load(teacher), await load(student)];
      const parameters = transferParameters(converted, taught, trained);
      const feature: TrainingPlan['feature'] = isCached
        ? {
            diskBytes: cachedLogitsBytes(dataset, k),
            open: async (folder, compile) =>
              await openCachedLogits({
                teacher: original,
                student: model,
                trained,
                parameters,
                origin: fingerprint,
                dataset,
                k,
                folder,
                compile,
              }),
          }
        : undefined;
      const { save, ...plan } = modelPlan({ ...converted, parameters }, parsed);
      return {
        ...plan,
        ...step,
        dataset,
        feature,
        heldOutRows: async () => ({ dataset: await heldOutRows(), objective: exact }),
        variant: { teacher: fingerprint, stage, trained: [...trained], ...(isCached && { teacherTop: k }) },
        summary: `${summary}; layers ${layers.join(', ')} learn from ${from}`,
        configuration: { ...configuration, teacher: fingerprint, stage, teacherTop: k, trainQk, layers },
        async save(out, result) {
          await save(out, result);
          return { layers };
        },
      };
    };
  return { parsed, settings: checked, prepare };
}
