/**
 * The data of a training plan: text packed into rows of next-token predictions, or pairs of a text to read and one to
 * generate, from a table or by cutting spans out of plain text.
 */
import type { z } from 'zod';
import type { Document } from '../../data/documents/document.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { packDocuments, type PackedDataset } from '../../data/datasets/packing.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { formatCount } from '../../report/quantities.ts';
import type { JsonValue } from '../../report/record.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TrainingOptions } from './options.ts';
import { requireLength, type TrainingSettings, described } from '../settings.ts';
import { readRecords } from '../../data/files/records.ts';
import { type PairDataset, spanCorruption, TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { sentinelIds } from '../../data/datasets/span-corruption.ts';
import type { CausalModel, EncoderDecoderModel } from '../../models/model.ts';
import { filledText } from '../../files/schema-values.ts';

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
 * @throws OptionsError for rows longer than the model reads; LinnetError `INPUT` if nothing is left, and as `packDocuments`
 */
export async function loadPackedText(
  options: Pick<TrainingOptions, 'data' | 'field' | 'heldOut' | 'packing'>,
  { length }: Pick<TrainingSettings, 'length'>,
  tokenizer: Tokenizer,
  { positions }: Pick<CausalModel, 'positions'>,
): Promise<PackedText> {
  const { field, packing } = options;
  requireLength(length, positions.limit);
  const { documents, heldOut } = await loadTrainingDocuments(options);
  const pack = (texts: readonly Document[]): Promise<PackedDataset> =>
    packDocuments(texts, tokenizer, { length, mode: packing });
  const dataset = await pack(documents);
  const summary =
    `${formatCount(documents.length, 'document')}, ${formatCount(dataset.predictedTokens, 'token')} ` +
    `in ${formatCount(dataset.rows, 'row')}`;
  return { dataset, heldOut, heldOutRows: () => pack(heldOut), summary, configuration: { field, packing } };
}

/** The documents of `data`, the last ones held out. @throws LinnetError `INPUT` if nothing is left */
export async function loadTrainingDocuments(
  options: Pick<TrainingOptions, 'data' | 'field' | 'heldOut'>,
): Promise<{ documents: readonly Document[]; heldOut: readonly Document[] }> {
  const all = await loadDocuments(options.data, { field: options.field });
  const documents = withoutHeldOut(all, options, 'documents');
  return { documents, heldOut: all.slice(documents.length) };
}

/** Leaves out the last `heldOut` ones. @throws LinnetError `INPUT` if none are left */
export function withoutHeldOut<T>(
  all: readonly T[],
  { heldOut }: Pick<TrainingOptions, 'heldOut'>,
  what = 'examples',
): readonly T[] {
  if (all.length > heldOut) return all.slice(0, all.length - heldOut);
  if (all.length === 0) throw new LinnetError('INPUT', `the data has no ${what}; give more`);
  throw new LinnetError(
    'INPUT',
    `\`heldOut\` leaves none of the ${all.length} ${what} to train on; give more data or a smaller \`heldOut\``,
  );
}

export const pairShape = {
  sourceField: described(
    filledText.optional(),
    'name',
    'encoder-decoders: field or column of the text to read; without it, spans are cut out of plain text',
  ),
  targetField: described(filledText.optional(), 'name', 'encoder-decoders: field or column of the text to generate'),
};

export type LoadPairsOptions = Pick<TrainingOptions, 'data' | 'field' | 'heldOut'> &
  z.output<z.ZodObject<typeof pairShape>>;

export interface LoadedPairs {
  readonly dataset: PairDataset;
  /** Rows of the last `heldOut` pairs or documents; undefined if it is 0. */
  readonly heldOut?: PairDataset;
  readonly summary: string;
  readonly configuration: Readonly<Record<string, JsonValue>>;
}

/** @throws OptionsError for one of the fields of a pair without the other */
export function checkPairFields({ sourceField, targetField }: Pick<LoadPairsOptions, keyof typeof pairShape>): void {
  if ((sourceField === undefined) === (targetField === undefined)) return;
  throw new OptionsError('`sourceField` and `targetField` go together; give both, or neither for plain text');
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
      spanCorruption(texts, tokenizer, { length, startId, seed, sentinels });
    const dataset = cut(documents);
    const summary = `${formatCount(documents.length, 'document')} in ${formatCount(dataset.rows, 'row')}`;
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
