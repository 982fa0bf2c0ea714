/** The text of a training plan, packed into rows of next-token predictions. */
import { type Document, loadDocuments } from '../../data/documents/documents.ts';
import { packDocuments, type PackedDataset } from '../../data/datasets/packing.ts';
import { LinnetError } from '../../errors.ts';
import { formatCount } from '../../report/quantities.ts';
import type { JsonValue } from '../../report/record.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TrainingSettings } from '../settings.ts';
import type { TrainingOptions } from './options.ts';

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
