/** Distillation: the mixers of a converted model learn to imitate the attention of the original, or the model its predictions. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type ModelWeights, openCausalWeights, saveModel } from '../../checkpoint/load-model.ts';
import { type AnyParameter, loadTensors, type StoredParameter } from '../../checkpoint/stored-parameter.ts';
import type { Tensor, WeightMap } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import {
  attentionParameters,
  logitsObjective,
  transferObjective,
  transferParameters,
  transferredLayers,
  transferredParameters,
  unequalNumbers,
} from '../objectives/distillation.ts';
import { openCachedLogits, cachedLogitsBytes, cachedLogitsObjective, usualTop } from '../objectives/cached-logits.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import { OptionsError } from '../../errors.ts';
import {
  memoryLimit,
  parseOptions,
  recomputeShape,
  refuseLabelSmoothing,
  settingsOf,
  trainingShape,
} from './options.ts';
import { chooseForm } from '../memory-form.ts';
import { type TrainingSettings, described } from '../settings.ts';
import { changedIn, fitForm, formsOf, jobInForm, type Lesson, type StepForm } from '../step-form.ts';
import { formatCount } from '../../report/quantities.ts';
import { totalUpdates } from '../trainer.ts';
import { planTraining, type TrainingPlan, type WorkPlan } from './plan.ts';
import { resumedConfiguration, runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { loadPackedText } from './text.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';
import { mergedParameters } from '../../nn/lora.ts';
import { parameterCount, selectParameters } from '../../nn/parameters.ts';
import { offByDefault, whole } from '../../files/schema-values.ts';

export const transferShape = {
  ...recomputeShape,
  stage: z
    .enum(['attention', 'logits'])
    .default('attention')
    .meta({
      description:
        "attention: each layer learns to mix like the original's; logits: the model learns the original's predictions, " +
        'training all of the changed attention',
    }),
  teacherTop: described(
    whole(0, 4096).optional(),
    'count',
    "stage logits: cache this many of the original's most likely tokens per position, 6 bytes each, so that it reads a row once; " +
      '0 caches none and compares all tokens in every step',
    '64 if rows are read more than once, else 0',
  ),
  trainQk: offByDefault.meta({ description: 'also train the projections to queries and keys' }),
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
  const { parsed, settings, prepare } = distillation(options);
  await using original = await openCausalWeights(teacher);
  await using converted = await openCausalWeights(student);
  return await runPlan<DistillDetails>(parsed, hooks, settings, prepare(original, converted, true));
}

/** Memory, disk and time of the same; no weights are read. @throws OptionsError and LinnetError as `distill` */
export async function planDistill(teacher: string, student: string, options: DistillOptions): Promise<WorkPlan> {
  const { parsed, settings, prepare } = distillation(options);
  await using original = await openCausalWeights(teacher);
  await using converted = await openCausalWeights(student);
  return await planTraining('distill', await prepare(original, converted, false)(settings), parsed, settings);
}

/** SHA-256 of a parameter's numbers, read in pieces. */
async function digestOf(value: StoredParameter): Promise<string> {
  const hash = createHash('sha256');
  for await (const { buffer, byteOffset, byteLength } of value.pieces('F32')) {
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
}

function distillation(options: DistillOptions) {
  const parsed = parseOptions(distillSchema, options);
  const checked = settingsOf(parsed);
  for (const name of ['recompute', 'teacherTop'] as const) {
    if (parsed[name] && parsed.stage !== 'logits') throw new OptionsError(`\`${name}\` needs stage logits`);
  }
  refuseLabelSmoothing(checked);
  const prepare =
    (taught: ModelWeights<CausalModel>, converted: ModelWeights<CausalModel>, reads: boolean) =>
    async (settings: TrainingSettings): Promise<TrainingPlan<DistillDetails>> => {
      const { stage, trainQk } = parsed;
      const { model: original } = taught;
      const { model, path } = converted;
      const trained =
        stage === 'logits'
          ? attentionParameters(original, model)
          : transferredParameters(original, model, { queriesAndKeys: trainQk });
      const layers = transferredLayers(original, model);
      const text = await loadPackedText(parsed, settings, await loadTokenizer(path), model);
      const { dataset, heldOutRows, summary, configuration } = text;
      const { length } = settings;
      const learner = parsed.recompute ? recomputing(model) : model;
      const objectiveFor = stage === 'logits' ? logitsObjective : transferObjective;
      const exact = objectiveFor(original, learner, length, trained);
      const isRepeated = totalUpdates(dataset, settings) * settings.batch > dataset.rows;
      // A resumed run keeps its objective, even with another number of steps.
      const recorded = z
        .int()
        .optional()
        .catch(undefined)
        .parse((await resumedConfiguration(parsed)).teacherTop);
      const { teacherTop = recorded ?? (isRepeated ? usualTop : 0) } = parsed;
      const k = stage === 'logits' ? Math.min(teacherTop, model.sizes.vocabulary) : 0;
      const limit = memoryLimit(parsed.memory);
      const lesson: Lesson = {
        model,
        trained,
        objective: (changed) => objectiveFor(original, model, length, changed),
        parameters: transferParameters<AnyParameter>(converted, taught.parameters, trained),
        variant: { stage, trained: [...trained] },
      };
      const jobOf = (form: StepForm, resident: WeightMap = new Map()) => {
        const job = jobInForm(form, lesson, resident, settings.seed);
        if (form !== 'whole') return job;
        if (k === 0) return { ...job, objective: exact };
        // The teacher's weights that the student does not share.
        const otherWeightBytes = 4 * parameterCount(selectParameters(original.parameters, (name) => trained.has(name)));
        return { ...job, objective: cachedLogitsObjective(learner, length, k), otherWeightBytes };
      };
      // Before weights are read.
      const step = fitForm(formsOf(lesson), jobOf, settings, limit);
      chooseForm('a step', { whole: step.cost.bytes }, limit, ['a smaller `length`']);
      const { form } = step;
      const isWhole = form === 'whole';
      const load = async (includes: (name: string) => boolean, from: typeof converted) =>
        reads ? await loadTensors(selectParameters(from.parameters, includes)) : new Map<string, Tensor<'float32'>>();
      // In pieces, to avoid holding the teacher's shared parameters in memory next to the student's.
      const shared = selectParameters(
        taught.parameters,
        (name) => !trained.has(name) && converted.parameters.has(name),
      );
      for (const [name, value] of reads ? shared : []) {
        const own = converted.parameters.get(name);
        if (own !== undefined && (await digestOf(own)) !== (await digestOf(value))) throw unequalNumbers(name);
      }
      const all = (): boolean => true;
      const parameters = isWhole
        ? transferParameters(
            { model, parameters: await load(all, converted) },
            await load((name) => !shared.has(name), taught),
            trained,
          )
        : await load((name) => changedIn(form, lesson).has(name), converted);
      const { lora, ...job } = jobOf(form, parameters);
      const fingerprint = reads ? await taught.fingerprint() : '';
      const isCached = isWhole && k > 0;
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
      const updates = lora ? `, by updates of rank ${lora.rank} for ${formatCount(lora.matrices.size)} matrices` : '';
      return {
        ...job,
        origin: reads ? await converted.fingerprint() : '',
        dataset,
        feature,
        heldOutRows: async () => ({ dataset: await heldOutRows(), objective: isWhole ? exact : job.objective }),
        variant: { teacher: fingerprint, ...job.variant, ...(isCached && { teacherTop: k }) },
        summary: `${summary}; layers ${layers.join(', ')} learn from ${taught.path}${updates}`,
        configuration: { ...configuration, teacher: fingerprint, stage, teacherTop: isCached ? k : 0, trainQk, layers },
        async save(out, learned) {
          const { dtype, replace } = parsed;
          const stored = converted.parameters;
          const all = lora
            ? mergedParameters(lora, learned, stored)
            : new Map<string, AnyParameter>([...stored, ...learned]);
          await saveModel(out, { model, parameters: all }, { tokenizerFiles: { from: path }, dtype, replace });
          return { layers };
        },
      };
    };
  return { parsed, settings: checked, prepare };
}
