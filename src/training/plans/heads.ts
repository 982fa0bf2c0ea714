/** Training Medusa heads for a model; both are saved in one folder. */
import { z } from 'zod';
import { openCheckpoint } from '../../checkpoint/huggingface.ts';
import { type LoadedModel, loadGeneratingModel, openModelWeights, saveModel } from '../../checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../checkpoint/medusa-files.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { isMedusaParameter, medusaLimits } from '../../models/medusa/medusa.ts';
import { byKind, type CausalModel, type EncoderDecoderModel, type GeneratingModel } from '../../models/model.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { computeHiddenStates, hiddenStatePlace, hiddenStatePlaces } from '../objectives/hidden-states.ts';
import {
  medusaObjective,
  type MedusaTraining,
  medusaTrainingDefaults,
  pairMedusaObjective,
  withHeads,
} from '../objectives/draft-heads.ts';
import { checkPairFields, loadPackedText, loadPairs, pairShape } from './text.ts';
import { requireWeights } from '../memory-form.ts';
import { parseOptions, refuseLabelSmoothing, settingsOf, trainingShape } from './options.ts';
import { described, type TrainingSettings } from '../settings.ts';
import type { ParameterMap, TrainingPlan } from './plan.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';
import { offByDefault, share, whole } from '../../files/schema-values.ts';
import { parameterCount, selectParameters } from '../../nn/parameters.ts';
import { documentTokens } from '../../data/documents/document-tokens.ts';
import type { Document } from '../../data/documents/document.ts';
import { PackedDataset } from '../../data/datasets/packing.ts';
import type { PairDataset } from '../../data/datasets/sequence-pairs.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { totalUpdates } from '../updates.ts';

export const headsShape = {
  heads: described(
    whole(1, medusaLimits.heads).default(4),
    'count',
    'heads; head i guesses the token i positions after the next one',
  ),
  mtp: offByDefault.meta({
    description:
      "train the model's own layer of multi-token prediction (Qwen3.5, Qwen3-Next) in place of heads, to guess as far as --heads says",
  }),
  headLayers: described(whole(1, medusaLimits.layers).default(1), 'count', 'residual blocks of a head'),
  headDecay: described(
    z.number().min(0.01).max(1).default(medusaTrainingDefaults.decay),
    'factor',
    'the loss of head i weighs this to the power i',
  ),
  joint: z
    .boolean()
    .default(false)
    .meta({ description: 'train the model too (Medusa-2): its own loss plus that of the heads' }),
  headWeight: described(
    z.number().min(0).max(100).optional(),
    'factor',
    `weight of the heads' loss with \`joint\` (default: ${medusaTrainingDefaults.joint.weight})`,
  ),
  baseRate: described(
    share.optional(),
    'factor',
    'learning rate of the model over that of the heads with `joint` ' +
      `(default: ${medusaTrainingDefaults.joint.rateFactor})`,
  ),
  hiddenStates: described(
    z.enum(['auto', ...hiddenStatePlaces]).default('auto'),
    'place',
    `where hidden states of a frozen model are kept: auto, ${hiddenStatePlaces.join(', ')}`,
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
  /** Of model and heads. */
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
 * Trains heads that guess several tokens ahead from the hidden state of a model (Medusa, arXiv 2401.10774), or with `mtp` the layer of
 * multi-token prediction that the model has (its weights go on, or begin fresh), and saves model and heads as a new folder. Heads of an encoder-decoder model are trained on its decoder, on pairs of texts or on
 * plain text with spans cut out. The last `heldOut` texts or, by default, the last twentieth is held out.
 *
 * @param folder of the model, which is left as it is unless `joint` is set
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
  const { heads, headLayers, headDecay, mtp, dtype, replace, seed } = parsed;
  checkPairFields(parsed);
  const medusa = medusaOf(parsed);
  const checked = settingsOf(parsed);
  refuseLabelSmoothing(checked);
  return await runPlan<HeadsDetails>(parsed, hooks, checked, async (settings) => {
    await using weights = await openModelWeights(folder);
    requireWeights(weights.model.parameters, parsed.memory);
    const loaded = await loadGeneratingModel(folder);
    const { model, fingerprint, path: from } = loaded;
    const input = { loaded, medusa, options: parsed, settings, tokenizer: await loadTokenizer(from), hooks };
    const { heldOut, configuration, ...text } = await byKind(model, {
      causal: (own) => plainText(own, input),
      'encoder-decoder': (own) => pairsOfTexts(own, input),
    });
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

/** @throws OptionsError for options of joint training where the model is frozen */
function medusaOf({ heads, headLayers, headDecay, mtp, joint, headWeight, baseRate }: ParsedOptions): MedusaTraining {
  if (!joint && (headWeight ?? baseRate) !== undefined) {
    throw new OptionsError('`headWeight` and `baseRate` are of joint training; give `joint` too');
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

const heldOutShare = 1 / 20;

/** Token ids of a text that heads are not trained on. */
interface HeldOutTokens {
  /** At most `length` + 1; in encoder-decoder models the start token and the target text. */
  readonly tokens: Int32Array;
  /** The source text of an encoder-decoder model, EOS included. */
  readonly source?: Int32Array;
}

/** A model whose heads are trained, how, and on what. */
interface HeadsInput {
  readonly loaded: LoadedModel<GeneratingModel>;
  readonly medusa: MedusaTraining;
  readonly options: ParsedOptions;
  readonly settings: TrainingSettings;
  readonly tokenizer: Tokenizer;
  readonly hooks: HeadsHooks;
}

/** Text to train heads on, and how they are trained on it. */
interface HeadsText
  extends Pick<
    TrainingPlan,
    'dataset' | 'summary' | 'configuration' | 'objective' | 'heldOutRows' | 'feature' | 'otherWeightBytes'
  > {
  readonly heldOut: readonly HeldOutTokens[];
}

/**
 * Reads plain text for a causal model.
 * @throws LinnetError `INPUT` if nothing is left to train on, and as `loadPackedText`
 */
async function plainText(model: CausalModel, input: HeadsInput): Promise<HeadsText> {
  const { medusa, loaded, options, settings, tokenizer } = input;
  const { signal, onHiddenStates: onProgress } = input.hooks;
  const text = await loadPackedText(options, settings, tokenizer);
  const { training: dataset, heldOut } =
    text.heldOut.length > 0
      ? { training: text.dataset, heldOut: piecesOf(text.heldOut, tokenizer, settings.length) }
      : splitRows(text.dataset);
  const visits = totalUpdates(dataset, settings) * settings.batch;
  const usual = hiddenStatePlace(dataset, model.sizes.width, visits);
  const hiddenStates = options.hiddenStates === 'auto' ? usual : options.hiddenStates;
  // Of a model that is trained too they change.
  const place = medusa.joint === undefined ? hiddenStates : 'recompute';
  const running = medusaObjective(medusa, model, settings.length);
  const states = { name: 'hidden', shape: [settings.length, model.sizes.width] };
  const bytes = 4 * dataset.rows * settings.length * model.sizes.width;
  const kept = place !== 'recompute' && {
    objective: medusaObjective(medusa, model, settings.length, states),
    otherWeightBytes: 4 * parameterCount(model.parameters) + (place === 'memory' ? bytes : 0),
    feature: {
      diskBytes: place === 'disk' ? bytes : 0,
      open: (folder: string, compile: CompileOptions) =>
        computeHiddenStates({ ...loaded, model, dataset, place, folder, compile, signal, onProgress }),
    },
  };
  return {
    dataset,
    summary: text.summary,
    configuration: text.configuration,
    heldOut: heldOut.map((tokens) => ({ tokens })),
    objective: running,
    ...kept,
    // Without kept hidden states: the model runs over these rows whenever they are measured.
    heldOutRows: async () => ({ dataset: await text.heldOutRows(), objective: running }),
  };
}

/** Reads pairs, or plain text to cut spans out of. @throws LinnetError as `plainText`, and as `loadPairs` */
async function pairsOfTexts(
  model: EncoderDecoderModel,
  { medusa, options, settings, tokenizer }: HeadsInput,
): Promise<HeadsText> {
  const { dataset, heldOut, summary, configuration } = await loadPairs(options, settings, model, tokenizer);
  if (heldOut === undefined && dataset.rows < 2) {
    throw new LinnetError('INPUT', 'one pair cannot be both trained on and measured on; give more pairs');
  }
  const kept = heldOut === undefined ? dataset.rows - setAside(dataset.rows) : dataset.rows;
  const measured = (rows: PairDataset) => ({
    dataset: rows,
    objective: pairMedusaObjective(medusa, model, rows.lengths),
  });
  return {
    ...measured(heldOut === undefined ? dataset.first(kept) : dataset),
    heldOut: heldOut === undefined ? rowsOf(dataset, kept) : rowsOf(heldOut, 0),
    summary,
    configuration,
    heldOutRows: heldOut && (() => Promise.resolve(measured(heldOut))),
  };
}

function setAside(rows: number): number {
  return Math.max(1, Math.round(rows * heldOutShare));
}

/** The pairs of the rows from `from` on, in the form of the first pass. */
function rowsOf(dataset: PairDataset, from: number): HeldOutTokens[] {
  return Array.from({ length: dataset.rows - from }, (_, i) => dataset.texts({ row: from + i, epoch: 0 }));
}

/** Rows trained on, and the tokens of the last twentieth. @throws LinnetError `INPUT` if there is only one row */
function splitRows(dataset: PackedDataset): { training: PackedDataset; heldOut: Int32Array[] } {
  const kept = dataset.rows - setAside(dataset.rows);
  if (kept < 1) {
    throw new LinnetError(
      'INPUT',
      'one row of text cannot be both trained on and measured on; give more text, or a smaller `length`',
    );
  }
  const { length, documents, padId, starts, counts, tokens } = dataset;
  const training = new PackedDataset({
    length,
    documents,
    padId,
    tokens,
    starts: starts.subarray(0, kept),
    counts: counts.subarray(0, kept),
  });
  const heldOut = Array.from({ length: dataset.rows - kept }, (_, i) =>
    tokens.subarray(starts[kept + i], starts[kept + i] + counts[kept + i]),
  );
  return { training, heldOut };
}

/** Documents cut into pieces as long as the rows that were trained on. */
function piecesOf(documents: readonly Document[], tokenizer: Tokenizer, length: number): Int32Array[] {
  const pieces: Int32Array[] = [];
  for (const { text } of documents) {
    const tokens = documentTokens(tokenizer, text);
    for (let start = 0; start + 2 < tokens.length; start += length) {
      pieces.push(tokens.subarray(start, start + length + 1));
    }
  }
  return pieces;
}
