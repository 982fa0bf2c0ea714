/** Attention transfer layer by layer, as a run of its own: one layer of each model is in memory. */
import { join } from 'node:path';
import { z } from 'zod';
import { loadCausalShapes, openModelWeights } from '../checkpoint/load-model.ts';
import { saveCheckpoint } from '../checkpoint/save-checkpoint.ts';
import { LinnetError, OptionsError } from '../errors.ts';
import { requireOptions, requirePath } from '../files/arguments.ts';
import type { WeightMap } from '../graph/tensor.ts';
import { parametersOfMixers } from '../models/linearization/linearize.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import {
  memoryLimit,
  parseOptions,
  refuseLabelSmoothing,
  settingsOf,
  trainingShape,
} from '../training/plans/options.ts';
import { described } from '../training/settings.ts';
import {
  recordedMicroBatch,
  resumedConfiguration,
  runPlan,
  type TrainingHooks,
  type TrainingResult,
} from '../training/plans/run.ts';
import { chooseForm } from '../training/memory-form.ts';
import { loadPackedText } from '../training/plans/text.ts';
import type { WorkPlan } from '../training/plans/plan.ts';
import { measureOperations, operationSeconds } from '../training/step-cost.ts';
import type { TrainingOutcome } from '../training/trainer.ts';
import { transferInputs, LayerStates } from './layer-states.ts';
import { layerJob, type LayerTransfer } from './layer-transfer.ts';
import { openReader } from './stages.ts';
import { trainedLayers, transferRows } from './stage-training.ts';
import { transferCost, transferLayers } from './transfer-layers.ts';
import { remove } from '../files/remove.ts';

export const layersShape = {
  inputs: described(
    z.enum(transferInputs).default('original'),
    'name',
    'stage layers: hidden states that layers learn on, of the original, or through the layers converted before',
  ),
};
const schema = z.strictObject({ ...layersShape, ...trainingShape });
/** Options of `distillLayers`; all but `data` and `out` are optional. `steps` counts per layer, default 64. */
export type DistillLayersOptions = z.input<typeof schema>;

/** Default optimizer steps per layer. */
const usualSteps = 64;

/** Further results about a distilled model. */
export interface DistillLayersDetails {
  readonly layers: readonly Pick<LayerTransfer, 'layer' | 'before' | 'after'>[];
}

/**
 * Trains every layer whose mixer differs, by itself, to mix like the original, on at most 64 rows of text. Resumes in the
 * layer where it stopped.
 *
 * @param teacher the original model's folder
 * @param student the folder of `linearize`'s result
 * @throws OptionsError and LinnetError like `distill`; `INPUT` for fewer than two rows of text
 * @example await distillLayers('models/llama', 'runs/linear', { data: ['book.txt'], steps: 64, batch: 8, out:
 *   'runs/transferred' });
 */
export async function distillLayers(
  teacher: string,
  student: string,
  options: DistillLayersOptions,
  hooks: TrainingHooks = {},
): Promise<TrainingResult<DistillLayersDetails>> {
  requireOptions(hooks, 'the hooks');
  const { parsed, shapes, layers, settings, own } = await prepared(teacher, student, options);
  const { model, path } = shapes.student;
  let learned: readonly LayerTransfer[] = [];
  let place = ''; // where layers' results are stored
  return await runPlan<DistillLayersDetails>(parsed, hooks, settings, async () => {
    const tokenizer = await loadTokenizer(path);
    const { dataset, summary, configuration } = await loadPackedText(parsed, settings, tokenizer, model);
    const rows = requireRows(dataset.rows, settings.batch);
    requireMemory(transferCost(shapes.teacher.model, model, layers, { ...own, rows }).memoryBytes, parsed.memory);
    const { objective, trainable } = layerJob(shapes.teacher.model, model, layers[0], settings.length);
    return {
      model,
      parameters: new Map(),
      dataset,
      objective,
      trainable,
      summary: `${summary}, of which ${rows} are read; layers ${layers.join(', ')} learn from ${shapes.teacher.path}`,
      configuration: { ...configuration, stage: 'layers', inputs: parsed.inputs, layers },
      async train(job, folder) {
        await using original = await openReader(teacher);
        await using converted = await openReader(student);
        const parameters: WeightMap = new Map();
        for (const name of parametersOfMixers(model, layers).keys()) {
          parameters.set(name, await converted.read(name));
        }
        const { compile, signal } = job;
        const weighted = { model, parameters };
        place = join(folder, 'layers');
        const origin = await original.fingerprint();
        const states = new LayerStates(place, {
          teacher: original,
          student: weighted,
          inputs: parsed.inputs,
          dataset,
          rows,
          origin,
          compile,
          signal,
        });
        const total = settings.steps;
        const losses: number[] = [];
        let isStarted = false;
        const start = async (done: number): Promise<void> => {
          if (!isStarted) await job.onStart?.(done);
          isStarted = true;
        };
        learned = await transferLayers({ teacher: original, student: weighted }, layers, states, place, {
          settings: own,
          compile,
          signal,
          onStart: async (before, update) => {
            await start(own.steps * before + update);
          },
          onUpdate(update, event) {
            losses.push(event.loss);
            void job.onUpdate?.({ ...event, update, total }, () => parameters);
          },
        });
        await start(total);
        const outcome: TrainingOutcome = {
          parameters,
          updates: total,
          total,
          finished: true,
          losses,
          evaluations: [],
          loss: losses.at(-1),
          tokens: total * settings.batch * settings.length,
        };
        return outcome;
      },
      async save(out) {
        await using weights = await openModelWeights(student);
        const trained = new Map(learned.flatMap(({ parameters }) => [...parameters]));
        const tensors = weights.names.map((name) => ({
          name,
          shape: weights.rows(name).shape,
          data: async () => (trained.get(name) ?? (await weights.read(name))).data,
        }));
        const { dtype, replace } = parsed;
        await saveCheckpoint(out, { config: model.toJson(), tensors, tokenizerFiles: { from: path }, dtype, replace });
        await remove(place);
        return { layers: learned.map(({ layer, before, after }) => ({ layer, before, after })) };
      },
    };
  });
}

/** Plans its memory, disk and time; reads no weights. @throws OptionsError and LinnetError like `distillLayers` */
export async function planDistillLayers(
  teacher: string,
  student: string,
  options: DistillLayersOptions,
): Promise<WorkPlan> {
  const { parsed, shapes, layers, settings, own } = await prepared(teacher, student, options);
  const { dataset } = await loadPackedText(
    parsed,
    settings,
    await loadTokenizer(shapes.student.path),
    shapes.student.model,
  );
  const rows = requireRows(dataset.rows, settings.batch);
  const { device, threads, memory } = parsed;
  const cost = transferCost(shapes.teacher.model, shapes.student.model, layers, { ...own, rows });
  requireMemory(cost.memoryBytes, memory);
  const rate = await measureOperations({ device, threads });
  const stage = {
    name: 'layers',
    length: settings.length,
    batch: cost.microBatch,
    form: 'layers' as const,
    tokens: settings.steps * settings.batch * settings.length,
    memoryBytes: cost.memoryBytes,
    diskBytes: cost.diskBytes,
    seconds: operationSeconds(cost.passOperations + own.steps * cost.stepOperations, rate),
  };
  return { stages: [stage], memoryLimitBytes: memoryLimit(memory) };
}

/** Options, shapes, and settings: `own` for one layer, `settings` with all layers' steps. */
async function prepared(teacher: string, student: string, options: DistillLayersOptions) {
  requirePath(teacher, 'the teacher');
  requirePath(student, 'the student');
  const parsed = parseOptions(schema, options);
  for (const name of ['epochs', 'evaluateEvery', 'patience'] as const) {
    if (parsed[name] !== undefined)
      throw new OptionsError(`stage layers takes no \`${name}\`; its layers learn for \`steps\``);
  }
  const checked = settingsOf(parsed);
  refuseLabelSmoothing(checked);
  const shapes = { teacher: await loadCausalShapes(teacher), student: await loadCausalShapes(student) };
  const layers = trainedLayers(shapes.teacher.model, shapes.student.model);
  if (layers.length === 0) throw new LinnetError('CONFIG', 'the mixers of the student have nothing to learn');
  const resumed = await resumedConfiguration(parsed);
  // A resumed run keeps the micro-batches it began with.
  const limit = Object.keys(resumed).length > 0 ? Infinity : memoryLimit(parsed.memory);
  const { microBatch: given = recordedMicroBatch(resumed), ...others } = checked;
  const { microBatch } = transferCost(
    shapes.teacher.model,
    shapes.student.model,
    layers,
    { ...others, microBatch: given, rows: 0 },
    limit,
  );
  const own = { ...others, steps: others.steps ?? usualSteps, microBatch };
  return { parsed, shapes, layers, own, settings: { ...own, steps: own.steps * layers.length } };
}

function requireRows(available: number, batch: number): number {
  const rows = transferRows(available);
  if (rows > batch) return rows;
  throw new OptionsError(
    `there are ${rows} rows of text and \`batch\` is ${batch}: give more text, or a smaller \`batch\``,
  );
}

function requireMemory(bytes: number, given: string | undefined): void {
  chooseForm('a layer', { layers: bytes }, memoryLimit(given), ['a smaller `microBatch` or `length`']);
}
