/** Data of Medusa heads: plain text, or pairs for models that read one text and generate another. */
import { documentTokens } from '../../data/documents/document-tokens.ts';
import type { Document } from '../../data/documents/documents.ts';
import { PackedDataset } from '../../data/datasets/packing.ts';
import type { PairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { byKind, type CausalModel, type EncoderDecoderModel, type GeneratingModel } from '../../models/model.ts';
import type { JsonValue } from '../../report/record.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import {
  type MedusaJob,
  medusaObjective,
  type MedusaOutcome,
  type MedusaTraining,
  pairMedusaObjective,
  trainMedusa,
  trainPairMedusa,
} from '../objectives/medusa.ts';
import type { TrainingSettings } from '../settings.ts';
import type { TrainingOptions } from './options.ts';
import { loadPairs, type LoadPairsOptions } from './pairs.ts';
import type { HeldOutRows, TrainingPlan } from './plan.ts';
import { loadPackedText } from './text.ts';

const heldOutShare = 1 / 20;

/** Token ids of a text that heads are not trained on. */
export interface HeldOutTokens {
  /** At most `length` + 1; in encoder-decoder models the start token and the target text. */
  readonly tokens: Int32Array;
  /** The source text of an encoder-decoder model, EOS included. */
  readonly source?: Int32Array;
}

export type HeadsJob = Omit<MedusaJob, 'model' | 'dataset'>;

/** Text to train heads on, and how they are trained on it. */
export interface HeadsText extends Pick<TrainingPlan, 'dataset' | 'summary'> {
  readonly configuration: Readonly<Record<string, JsonValue>>;
  readonly heldOut: readonly HeldOutTokens[];
  readonly objective: (medusa: MedusaTraining) => TrainingPlan['objective'];
  /** Rows set aside by `heldOut`, to measure the loss on during training; absent if there are none. */
  readonly heldOutRows?: (medusa: MedusaTraining) => Promise<HeldOutRows>;
  readonly train: (job: HeadsJob) => Promise<Omit<MedusaOutcome, 'hiddenStates'>>;
}

export type HeadsTextOptions = LoadPairsOptions & Pick<TrainingOptions, 'packing'>;

/**
 * Reads the data for the kind of model.
 * @throws LinnetError `INPUT` if nothing is left to train on, and as `loadPackedText` and `loadPairs`
 */
export async function loadHeadsText(
  model: GeneratingModel,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  return await byKind(model, {
    causal: (own) => plainText(own, options, settings, tokenizer),
    'encoder-decoder': (own) => pairsOfTexts(own, options, settings, tokenizer),
  });
}

async function plainText(
  model: CausalModel,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  const text = await loadPackedText(options, settings, tokenizer);
  const { training: dataset, heldOut } =
    text.heldOut.length > 0
      ? { training: text.dataset, heldOut: piecesOf(text.heldOut, tokenizer, settings.length) }
      : splitRows(text.dataset);
  return {
    dataset,
    heldOut: heldOut.map((tokens) => ({ tokens })),
    summary: text.summary,
    configuration: text.configuration,
    objective: (medusa) => medusaObjective(medusa, model, settings.length),
    // Without kept hidden states: the model runs over these rows whenever they are measured.
    heldOutRows: async (medusa) => ({
      dataset: await text.heldOutRows(),
      objective: medusaObjective(medusa, model, settings.length),
    }),
    train: (job) => trainMedusa({ ...job, model, dataset }),
  };
}

async function pairsOfTexts(
  model: EncoderDecoderModel,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  const { dataset, heldOut, summary, configuration } = await loadPairs(options, settings, model, tokenizer);
  if (heldOut === undefined && dataset.rows < 2) {
    throw new LinnetError('INPUT', 'one pair cannot be both trained on and measured on; give more pairs');
  }
  const kept = heldOut === undefined ? dataset.rows - setAside(dataset.rows) : dataset.rows;
  const training = heldOut === undefined ? dataset.first(kept) : dataset;
  return {
    dataset: training,
    heldOut: heldOut === undefined ? rowsOf(dataset, kept) : rowsOf(heldOut, 0),
    summary,
    configuration,
    objective: (medusa) => pairMedusaObjective(medusa, model, training.lengths),
    heldOutRows:
      heldOut &&
      ((medusa) =>
        Promise.resolve({ dataset: heldOut, objective: pairMedusaObjective(medusa, model, heldOut.lengths) })),
    train: ({ hiddenStates: _, hiddenStateFolder: __, onHiddenStates: ___, ...job }) =>
      trainPairMedusa({ ...job, model, dataset: training }),
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
    ...{ length, documents, padId, tokens },
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
