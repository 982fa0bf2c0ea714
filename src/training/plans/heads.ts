/** Training Medusa heads for a model; both are saved in one folder. */
import { z } from 'zod';
import { openCheckpoint } from '../../checkpoint/huggingface.ts';
import { loadCausalModel, saveModel } from '../../checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../checkpoint/medusa-files.ts';
import type { Document } from '../../data/documents.ts';
import { PackedDataset } from '../../data/packing.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { isMedusaParameter, medusaLimits } from '../../models/medusa.ts';
import type { CausalModel } from '../../models/model.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { hiddenStatePlaces } from '../objectives/hidden-states.ts';
import { medusaObjective, type MedusaTraining, medusaTrainingDefaults, trainMedusa } from '../objectives/medusa.ts';
import { parseOptions, refuseLabelSmoothing, settingsOf, trainingShape } from './options.ts';
import type { ParameterMap } from './plan.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { loadPackedText } from './text.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';

/** Share of the rows that is set aside where no documents are held out. */
const heldOutShare = 1 / 20;

/** The options of Medusa heads alone. */
export const headsShape = {
  heads: z.int().min(1).max(medusaLimits.heads).default(4).meta({
    placeholder: 'count',
    description: 'heads; head i guesses the token i positions after the next one',
  }),
  headLayers: z
    .int()
    .min(1)
    .max(medusaLimits.layers)
    .default(1)
    .meta({ placeholder: 'count', description: 'residual blocks of a head' }),
  headDecay: z
    .number()
    .min(0.01)
    .max(1)
    .default(medusaTrainingDefaults.decay)
    .meta({ placeholder: 'factor', description: 'the loss of head i weighs this to the power i' }),
  joint: z
    .boolean()
    .default(false)
    .meta({ description: 'train the model too (Medusa-2): its own loss plus that of the heads' }),
  headWeight: z
    .number()
    .min(0)
    .max(100)
    .optional()
    .meta({
      placeholder: 'factor',
      description: `weight of the heads' loss with \`joint\` (default: ${medusaTrainingDefaults.joint.weight})`,
    }),
  baseRate: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .meta({
      placeholder: 'factor',
      description:
        'learning rate of the model over that of the heads with `joint` ' +
        `(default: ${medusaTrainingDefaults.joint.rateFactor})`,
    }),
  hiddenStates: z
    .enum(['auto', ...hiddenStatePlaces])
    .default('auto')
    .meta({
      placeholder: 'place',
      description: `where hidden states of a frozen model are kept: auto, ${hiddenStatePlaces.join(', ')}`,
    }),
};
const headsSchema = z.strictObject({ ...headsShape, ...trainingShape });
type ParsedOptions = z.output<typeof headsSchema>;
/** The options of `trainHeads`; all but `data` and `out` may be left out. */
export type HeadsOptions = z.input<typeof headsSchema>;

/** Heads that were trained, and text that they were not trained on. */
export interface TrainedHeads {
  readonly model: CausalModel;
  readonly medusa: MedusaTraining;
  /** Of model and heads. */
  readonly parameters: ParameterMap;
  /** Token ids of texts that were held out, each at most `length` + 1 of them. */
  readonly heldOut: readonly Int32Array[];
}

/** What was measured of heads on held-out text. */
export interface HeadAccuracy {
  /** Share of held-out tokens among each head's most likely 1, 2, … tokens [H][k]. */
  readonly accuracy: readonly (readonly number[])[];
  /** Positions that this was measured at. */
  readonly positions: number;
}

/** As of every plan, and what measures the heads. */
export interface HeadsHooks extends TrainingHooks {
  /** Measures trained heads; the accuracy is saved with them. Default: nothing is measured. */
  readonly measure?: (trained: TrainedHeads) => Promise<HeadAccuracy>;
  /** Called while hidden states of a frozen model are computed, before the first optimizer step. */
  readonly onHiddenStates?: (rows: number, total: number) => void;
}

/** What is reported about heads besides. */
export interface HeadsDetails {
  readonly heads: number;
  readonly headLayers: number;
  /** What `measure` found. */
  readonly measured?: HeadAccuracy;
}

/**
 * Trains heads that guess several tokens ahead from the hidden state of a model (Medusa, arXiv 2401.10774), and saves
 * model and heads as a new folder. The documents that `heldOut` names or, without it, the last twentieth of the rows are
 * not trained on.
 *
 * @param folder of the model, which is left as it is unless `joint` is set
 * @throws OptionsError and LinnetError as `finetune`
 * @example
 * await trainHeads('runs/augmented', { data: ['stories.jsonl'], heads: 4, steps: 500, out: 'runs/medusa' });
 */
export async function trainHeads(
  folder: string,
  options: HeadsOptions,
  hooks: HeadsHooks = {},
): Promise<TrainingResult<HeadsDetails>> {
  requirePath(folder, 'the model');
  requireOptions(hooks, 'the hooks');
  const parsed = parseOptions(headsSchema, options);
  const { heads, headLayers, headDecay, hiddenStates, dtype, replace } = parsed;
  const medusa = medusaOf(parsed);
  const checked = settingsOf(parsed);
  refuseLabelSmoothing(checked);
  return await runPlan<HeadsDetails>(parsed, hooks, checked, async (settings) => {
    const { model, parameters, fingerprint, path: from } = await loadCausalModel(folder);
    const tokenizer = await loadTokenizer(from);
    const text = await loadPackedText(parsed, settings, tokenizer);
    const { training: dataset, heldOut } =
      text.heldOut.length > 0
        ? { training: text.dataset, heldOut: piecesOf(text.heldOut, tokenizer, settings.length) }
        : splitRows(text.dataset);
    return {
      model,
      parameters,
      origin: fingerprint,
      dataset,
      objective: medusaObjective(medusa, model, settings.length),
      summary: text.summary,
      configuration: {
        ...text.configuration,
        ...{ heads, headLayers, headDecay },
        ...(medusa.joint && { joint: { ...medusa.joint } }),
      },
      async train(job, runFolder) {
        const outcome = await trainMedusa({
          ...job,
          model,
          dataset,
          origin: fingerprint,
          medusa,
          hiddenStates: hiddenStates === 'auto' ? undefined : hiddenStates,
          hiddenStateFolder: runFolder,
          onHiddenStates: hooks.onHiddenStates,
        });
        return { ...outcome, parameters: new Map([...outcome.base, ...outcome.heads]) };
      },
      async save(out, trained) {
        const measured = await hooks.measure?.({ model, medusa, parameters: trained, heldOut });
        const trainedHeads = new Map([...trained].filter(([name]) => isMedusaParameter(name)));
        const accuracy = measured?.accuracy.map((shares) => [...shares]);
        const complete = async (unfinished: string): Promise<void> => {
          const base = await fingerprintOf(unfinished);
          const config = { heads, layers: headLayers };
          await saveMedusaHeads(unfinished, { config, parameters: trainedHeads, base, dtype, accuracy });
        };
        await saveModel(out, { model, parameters: trained }, { tokenizerFiles: { from }, dtype, replace, complete });
        return { heads, headLayers, measured };
      },
    };
  });
}

/** @throws OptionsError for options of joint training where the model is frozen */
function medusaOf({ heads, headLayers, headDecay, joint, headWeight, baseRate }: ParsedOptions): MedusaTraining {
  if (!joint && (headWeight ?? baseRate) !== undefined) {
    throw new OptionsError('`headWeight` and `baseRate` are of joint training; give `joint` too');
  }
  const { weight, rateFactor } = medusaTrainingDefaults.joint;
  return {
    heads,
    layers: headLayers,
    decay: headDecay,
    joint: joint ? { weight: headWeight ?? weight, rateFactor: baseRate ?? rateFactor } : undefined,
  };
}

/** Rows trained on, and the tokens of the last twentieth. @throws LinnetError `INPUT` if there is only one row */
function splitRows(dataset: PackedDataset): { training: PackedDataset; heldOut: Int32Array[] } {
  const kept = dataset.rows - Math.max(1, Math.round(dataset.rows * heldOutShare));
  if (kept < 1) {
    throw new LinnetError(
      'INPUT',
      'one row of text cannot be both trained on and measured on; give more text, or a smaller `length`',
    );
  }
  const { length, documents, padId, starts, counts, tokens } = dataset;
  const training = new PackedDataset({
    ...{ length, documents, padId, tokens },
    starts: starts.subarray(0, kept),
    counts: counts.subarray(0, kept),
  });
  const heldOut = Array.from({ length: dataset.rows - kept }, (_, i) =>
    tokens.subarray(starts[kept + i], starts[kept + i] + counts[kept + i]),
  );
  return { training, heldOut };
}

/** Documents with BOS, cut into pieces as long as the rows that were trained on. */
function piecesOf(documents: readonly Document[], tokenizer: Tokenizer, length: number): Int32Array[] {
  const pieces: Int32Array[] = [];
  for (const { text } of documents) {
    const tokens = tokenizer.encode(text, { bos: tokenizer.bosId !== undefined });
    for (let start = 0; start + 2 < tokens.length; start += length) {
      pieces.push(tokens.subarray(start, start + length + 1));
    }
  }
  return pieces;
}

async function fingerprintOf(folder: string): Promise<string> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return await checkpoint.fingerprint();
  } finally {
    await checkpoint.close();
  }
}
