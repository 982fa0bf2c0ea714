/** Training Medusa heads for a model; both are saved in one folder. */
import { z } from 'zod';
import { openCheckpoint } from '../../checkpoint/huggingface.ts';
import { loadGeneratingModel, openModelWeights, saveModel } from '../../checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../checkpoint/medusa-files.ts';
import { OptionsError } from '../../errors.ts';
import { isMedusaParameter, medusaLimits } from '../../models/medusa/medusa.ts';
import type { GeneratingModel } from '../../models/model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { hiddenStatePlaces } from '../objectives/hidden-states.ts';
import { type MedusaTraining, medusaTrainingDefaults, withHeads } from '../objectives/draft-heads.ts';
import { checkPairFields, pairShape } from './text.ts';
import { type HeldOutTokens, loadHeadsText } from './heads-text.ts';
import { requireWeights } from '../memory-form.ts';
import { parseOptions, refuseLabelSmoothing, settingsOf, trainingShape } from './options.ts';
import { described } from '../settings.ts';
import type { ParameterMap } from './plan.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';
import { offByDefault, share, whole } from '../../files/schema-values.ts';
import { selectParameters } from '../../nn/parameters.ts';

export const headsShape = {
  heads: described(
    whole(1, medusaLimits.heads).default(4),
    'count',
    'number of heads; head i guesses the token i positions after the next one',
  ),
  mtp: offByDefault.meta({
    description:
      "train the model's own multi-token prediction layer (Qwen3.5, Qwen3-Next) instead of heads, to guess --heads tokens ahead",
  }),
  headLayers: described(whole(1, medusaLimits.layers).default(1), 'count', 'residual blocks per head'),
  headDecay: described(
    z.number().min(0.01).max(1).default(medusaTrainingDefaults.decay),
    'factor',
    "weight of head i's loss, to the power i",
  ),
  joint: offByDefault.meta({ description: "also train the model (Medusa-2), on its own loss plus the heads'" }),
  headWeight: described(
    z.number().min(0).max(100).optional(),
    'factor',
    `weight of the heads' loss with \`joint\` (default: ${medusaTrainingDefaults.joint.weight})`,
  ),
  baseRate: described(
    share.optional(),
    'factor',
    "learning rate of the model relative to the heads' with `joint` " +
      `(default: ${medusaTrainingDefaults.joint.rateFactor})`,
  ),
  hiddenStates: described(
    z.enum(['auto', ...hiddenStatePlaces]).default('auto'),
    'place',
    `where to keep hidden states of a frozen model: auto, ${hiddenStatePlaces.join(', ')}`,
  ),
};
const headsSchema = z.strictObject({ ...headsShape, ...pairShape, ...trainingShape });
type ParsedOptions = z.output<typeof headsSchema>;
/** The options of `trainHeads`; all but `data` and `out` may be left out. */
export type HeadsOptions = z.input<typeof headsSchema>;

/** Heads that were trained, and text that they were not trained on. */
export interface TrainedHeads {
  readonly model: GeneratingModel;
  readonly medusa: MedusaTraining;
  /** Parameters of model and heads. */
  readonly parameters: ParameterMap;
  readonly heldOut: readonly HeldOutTokens[];
}

/** Accuracy of heads on held-out text. */
export interface HeadAccuracy {
  /** Share of held-out tokens among each head's most likely 1, 2, … tokens [H][k]. */
  readonly accuracy: readonly (readonly number[])[];
  /** Positions that this was measured at. */
  readonly positions: number;
}

/** The hooks of every plan, and the measurement of heads. */
export interface HeadsHooks extends TrainingHooks {
  /** Measures trained heads; the accuracy is saved with them. Default: nothing is measured. */
  readonly measure?: (trained: TrainedHeads) => Promise<HeadAccuracy>;
  /** Called while hidden states of a frozen model are computed, before the first optimizer step. */
  readonly onHiddenStates?: (rows: number, total: number) => void;
}

/** Further results about heads. */
export interface HeadsDetails {
  readonly heads: number;
  readonly headLayers: number;
  /** The result of `measure`. */
  readonly measured?: HeadAccuracy;
}

/**
 * Trains heads that guess several tokens ahead from the hidden state of a model (Medusa, arXiv 2401.10774), or with `mtp` the model's own
 * multi-token prediction layer (from its weights, or fresh), and saves model and heads as a new folder. Heads of an encoder-decoder model are trained on its decoder, on pairs of texts or on
 * plain text with spans cut out. The last `heldOut` texts or, by default, the last twentieth is held out.
 *
 * @param folder the model's folder; `joint` also trains the model
 * @throws OptionsError and LinnetError as `finetune`; `CONFIG` for a model that generates no text
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
  const { heads, headLayers, headDecay, hiddenStates, mtp, dtype, replace, seed } = parsed;
  checkPairFields(parsed);
  const medusa = medusaOf(parsed);
  const checked = settingsOf(parsed);
  refuseLabelSmoothing(checked);
  return await runPlan<HeadsDetails>(parsed, hooks, checked, async (settings) => {
    await using weights = await openModelWeights(folder);
    requireWeights(weights.model.parameters, parsed.memory);
    const loaded = await loadGeneratingModel(folder);
    const { model, fingerprint, path: from } = loaded;
    const { signal, onHiddenStates } = hooks;
    const input = { loaded, medusa, signal, onHiddenStates };
    const { heldOut, configuration, ...text } = await loadHeadsText(
      hiddenStates === 'auto' ? input : { ...input, hiddenStates },
      parsed,
      settings,
      await loadTokenizer(from),
    );
    return {
      ...text,
      ...withHeads({ ...loaded, medusa }, seed),
      origin: fingerprint,
      configuration: {
        ...configuration,
        heads,
        headLayers,
        headDecay,
        ...(mtp && { mtp }),
        ...(medusa.joint && { joint: { ...medusa.joint } }),
      },
      async save(out, trained) {
        const tokenizerFiles = { from };
        if (mtp) {
          await saveModel(out, { model, parameters: trained }, { tokenizerFiles, dtype, replace });
          return { heads, headLayers: 1 };
        }
        const measured = await hooks.measure?.({ model, medusa, parameters: trained, heldOut });
        const trainedHeads = selectParameters(trained, isMedusaParameter);
        const accuracy = measured?.accuracy.map((shares) => [...shares]);
        const complete = async (unfinished: string): Promise<void> => {
          await using checkpoint = await openCheckpoint(unfinished);
          const base = await checkpoint.fingerprint();
          const config = { heads, layers: headLayers };
          await saveMedusaHeads(unfinished, { config, parameters: trainedHeads, base, dtype, accuracy });
        };
        await saveModel(out, { model, parameters: trained }, { tokenizerFiles, dtype, replace, complete });
        return { heads, headLayers, measured };
      },
    };
  });
}

/** @throws OptionsError for joint-training options with a frozen model */
function medusaOf({ heads, headLayers, headDecay, mtp, joint, headWeight, baseRate }: ParsedOptions): MedusaTraining {
  if (!joint && (headWeight ?? baseRate) !== undefined) {
    throw new OptionsError('`headWeight` and `baseRate` need `joint`');
  }
  const { weight, rateFactor } = medusaTrainingDefaults.joint;
  return {
    heads,
    layers: headLayers,
    decay: headDecay,
    ...(mtp && { mtp }),
    joint: joint ? { weight: headWeight ?? weight, rateFactor: baseRate ?? rateFactor } : undefined,
  };
}
