/** Data of Medusa heads: plain text, or pairs for models that read one text and generate another. */
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import { documentTokens } from '../../data/documents/document-tokens.ts';
import type { Document } from '../../data/documents/document.ts';
import { PackedDataset } from '../../data/datasets/packing.ts';
import type { PairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { byKind, type CausalModel, type EncoderDecoderModel, type GeneratingModel } from '../../models/model.ts';
import { parameterCount } from '../../nn/parameters.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { computeHiddenStates, type HiddenStatePlace, hiddenStatePlace } from '../objectives/hidden-states.ts';
import { medusaObjective, type MedusaTraining, pairMedusaObjective } from '../objectives/draft-heads.ts';
import type { TrainingSettings } from '../settings.ts';
import type { TrainingOptions } from './options.ts';
import { loadPackedText, loadPairs, type LoadPairsOptions } from './text.ts';
import { totalUpdates } from '../updates.ts';
import type { TrainingPlan } from './plan.ts';

const heldOutShare = 1 / 20;

/** Token ids of a text that heads are not trained on. */
export interface HeldOutTokens {
  /** At most `length` + 1; in encoder-decoder models the start token and the target text. */
  readonly tokens: Int32Array;
  /** The source text of an encoder-decoder model, EOS included. */
  readonly source?: Int32Array;
}

/** A model whose heads are trained, and how. */
export interface HeadsInput {
  readonly loaded: LoadedModel<GeneratingModel>;
  readonly medusa: MedusaTraining;
  /** Where hidden states of a frozen model are kept; default `hiddenStatePlace`. */
  readonly hiddenStates?: HiddenStatePlace;
  readonly signal?: AbortSignal;
  /** Called while computing the backbone's hidden states, before training. */
  readonly onHiddenStates?: (rows: number, total: number) => void;
}

/** Text to train heads on, and how they are trained on it. */
export interface HeadsText
  extends Pick<
    TrainingPlan,
    'dataset' | 'summary' | 'configuration' | 'objective' | 'heldOutRows' | 'feature' | 'otherWeightBytes'
  > {
  readonly heldOut: readonly HeldOutTokens[];
}

export type HeadsTextOptions = LoadPairsOptions & Pick<TrainingOptions, 'packing'>;

/**
 * Reads the data for the kind of model.
 * @throws LinnetError `INPUT` if nothing is left to train on, and as `loadPackedText` and `loadPairs`
 */
export async function loadHeadsText(
  input: HeadsInput,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  return await byKind(input.loaded.model, {
    causal: (own) => plainText(own, input, options, settings, tokenizer),
    'encoder-decoder': (own) => pairsOfTexts(own, input, options, settings, tokenizer),
  });
}

async function plainText(
  model: CausalModel,
  input: HeadsInput,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  const { medusa, loaded, signal, onHiddenStates: onProgress } = input;
  const text = await loadPackedText(options, settings, tokenizer, model);
  const { training: dataset, heldOut } =
    text.heldOut.length > 0
      ? { training: text.dataset, heldOut: piecesOf(text.heldOut, tokenizer, settings.length) }
      : splitRows(text.dataset);
  const visits = totalUpdates(dataset, settings) * settings.batch;
  const { hiddenStates = hiddenStatePlace(dataset, model.sizes.width, visits) } = input;
  // They change if the model is also trained.
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

async function pairsOfTexts(
  model: EncoderDecoderModel,
  { medusa }: HeadsInput,
  options: HeadsTextOptions,
  settings: TrainingSettings,
  tokenizer: Tokenizer,
): Promise<HeadsText> {
  const { dataset, heldOut, summary, configuration } = await loadPairs(options, settings, model, tokenizer);
  if (heldOut === undefined && dataset.rows < 2) {
    throw new LinnetError(
      'INPUT',
      'got one pair, expected at least two: one to train on and one to measure; give more pairs',
    );
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
      'got one row, expected at least two: one to train on and one to measure; give more text or a smaller `length`',
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
