/**
 * The data of a training plan: text packed into rows of next-token predictions, or pairs of a text to read and one to
 * generate, from a table or by cutting spans out of plain text.
 */
import { z } from 'zod';
import { type Document, documentTokens, loadDocuments } from '../../data/documents/documents.ts';
import { PackedDataset, packDocuments } from '../../data/datasets/packing.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { formatCount } from '../../report/quantities.ts';
import type { JsonValue } from '../../report/record.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { type TrainingOptions, type TrainingSettings, described } from './options.ts';
import { readRecords } from '../../data/files/records.ts';
import { type PairDataset, SpanCorruptionDataset, TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { sentinelIds } from '../../data/datasets/span-corruption.ts';
import { type CausalModel, type EncoderDecoderModel, type GeneratingModel, byKind } from '../../models/model.ts';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import { parameterCount } from '../../nn/parameters.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { computeHiddenStates } from '../objectives/hidden-states.ts';
import { type MedusaJob, medusaObjective, pairMedusaObjective, placeOfStates } from '../objectives/draft-heads.ts';
import type { TrainingPlan } from './plan.ts';

export interface PackedText {
  readonly dataset: PackedDataset;
  /** The last `heldOut` documents. */
  readonly heldOut: readonly Document[];
  /** The same, packed like the rest. */
  readonly heldOutRows: () => Promise<PackedDataset>;
  readonly summary: string;
  readonly configuration: Readonly<Record<string, JsonValue>>;
}

/**
 * Reads the documents of `data`, leaves out the last `heldOut` documents and packs the rest.
 * @throws LinnetError `INPUT` if nothing is left, and as `packDocuments`
 */
export async function loadPackedText(
  options: Pick<TrainingOptions, 'data' | 'field' | 'heldOut' | 'packing'>,
  { length }: Pick<TrainingSettings, 'length'>,
  tokenizer: Tokenizer,
): Promise<PackedText> {
  const { field, packing } = options;
  const { documents, heldOut } = await loadTrainingDocuments(options);
  const pack = (texts: readonly Document[]): Promise<PackedDataset> =>
    packDocuments(texts, tokenizer, { length, mode: packing });
  const dataset = await pack(documents);
  const summary =
    `${formatCount(documents.length)} documents, ${formatCount(dataset.predictedTokens)} tokens ` +
    `in ${formatCount(dataset.rows)} rows`;
  return { dataset, heldOut, heldOutRows: () => pack(heldOut), summary, configuration: { field, packing } };
}

/** The documents of `data`, those at the end set aside. @throws LinnetError `INPUT` if nothing is left */
export async function loadTrainingDocuments(
  options: Pick<TrainingOptions, 'data' | 'field' | 'heldOut'>,
): Promise<{ documents: readonly Document[]; heldOut: readonly Document[] }> {
  const all = await loadDocuments(options.data, { field: options.field });
  const documents = withoutHeldOut(all, options, 'documents');
  return { documents, heldOut: all.slice(documents.length) };
}

/** Leaves out the last ones, as `heldOut` says. @throws LinnetError `INPUT` if none are left */
export function withoutHeldOut<T>(
  all: readonly T[],
  { heldOut }: Pick<TrainingOptions, 'heldOut'>,
  what = 'examples',
): readonly T[] {
  if (all.length > heldOut) return all.slice(0, all.length - heldOut);
  throw new LinnetError('INPUT', `there are ${all.length} ${what}, and \`heldOut\` leaves none to train on`);
}

/** The last ones, which training leaves out where it is told the same; all of them for 0. @throws LinnetError `INPUT` if there are fewer */
export function onlyHeldOut<T>(
  all: readonly T[],
  { heldOut }: Pick<TrainingOptions, 'heldOut'>,
  what = 'examples',
): readonly T[] {
  if (heldOut === 0) return all;
  if (all.length >= heldOut) return all.slice(all.length - heldOut);
  throw new LinnetError('INPUT', `there are ${all.length} ${what}, fewer than the ${heldOut} of \`heldOut\``);
}

export const pairShape = {
  sourceField: described(
    z.string().min(1).optional(),
    'name',
    'of encoder-decoder models: field or column of the text to read; without it, spans are cut out of plain text',
  ),
  targetField: described(
    z.string().min(1).optional(),
    'name',
    'of encoder-decoder models: field or column of the text to generate',
  ),
};

type LoadPairsOptions = Pick<TrainingOptions, 'data' | 'field' | 'heldOut'> & z.output<z.ZodObject<typeof pairShape>>;

export interface LoadedPairs {
  readonly dataset: PairDataset;
  /** Rows of the last `heldOut` pairs or documents; undefined if that is 0. */
  readonly heldOut?: PairDataset;
  readonly summary: string;
  readonly configuration: Readonly<Record<string, JsonValue>>;
}

/** @throws OptionsError for one of the fields of a pair without the other */
export function checkPairFields({ sourceField, targetField }: Pick<LoadPairsOptions, keyof typeof pairShape>): void {
  if ((sourceField === undefined) === (targetField === undefined)) return;
  throw new OptionsError('`sourceField` and `targetField` go together; give both, or none for plain text');
}

/**
 * Reads pairs or documents for a model and sets the last `heldOut` aside.
 * @throws OptionsError as `checkPairFields`, LinnetError `INPUT` if nothing is left, and as the datasets
 */
export async function loadPairs(
  options: LoadPairsOptions,
  { length, seed }: Pick<TrainingSettings, 'length' | 'seed'>,
  { startId, sizes }: Pick<EncoderDecoderModel, 'startId' | 'sizes'>,
  tokenizer: Tokenizer,
): Promise<LoadedPairs> {
  checkPairFields(options);
  const { field, sourceField, targetField } = options;
  if (sourceField === undefined || targetField === undefined) {
    const { documents, heldOut } = await loadTrainingDocuments(options);
    const sentinels = sentinelIds(tokenizer, sizes.vocabulary);
    const cut = (texts: typeof documents): PairDataset =>
      new SpanCorruptionDataset(texts, tokenizer, { length, startId, seed, sentinels });
    const dataset = cut(documents);
    const summary = `${formatCount(documents.length)} documents in ${formatCount(dataset.rows)} rows`;
    return { dataset, summary, configuration: { field }, ...(heldOut.length > 0 && { heldOut: cut(heldOut) }) };
  }
  const all = (await readRecords(options.data, [sourceField, targetField])).map(({ fields }) => ({
    source: fields.get(sourceField) ?? '',
    target: fields.get(targetField) ?? '',
  }));
  const pairs = withoutHeldOut(all, options);
  const rest = all.slice(pairs.length);
  const rows = (of: typeof pairs): PairDataset => new TextPairDataset(of, tokenizer, { length, startId });
  return {
    dataset: rows(pairs),
    summary: `${formatCount(pairs.length)} pairs of texts`,
    configuration: { sourceField, targetField },
    ...(rest.length > 0 && { heldOut: rows(rest) }),
  };
}

// Data of Medusa heads: plain text, or pairs for models that read one text and generate another.

const heldOutShare = 1 / 20;

/** Token ids of a text that heads are not trained on. */
export interface HeldOutTokens {
  /** At most `length` + 1; in encoder-decoder models the start token and the target text. */
  readonly tokens: Int32Array;
  /** The source text of an encoder-decoder model, EOS included. */
  readonly source?: Int32Array;
}

/** A model whose heads are trained, and how. */
export interface HeadsInput extends Pick<MedusaJob, 'medusa' | 'hiddenStates' | 'signal' | 'onHiddenStates'> {
  readonly loaded: LoadedModel<GeneratingModel>;
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
  const text = await loadPackedText(options, settings, tokenizer);
  const { training: dataset, heldOut } =
    text.heldOut.length > 0
      ? { training: text.dataset, heldOut: piecesOf(text.heldOut, tokenizer, settings.length) }
      : splitRows(text.dataset);
  const place = placeOfStates({ ...input, model, dataset, settings });
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
