/** The text of a training command, packed into rows of next-token predictions. */
import { type Document, loadDocuments } from '../data/documents.ts';
import { packDocuments, type PackedDataset } from '../data/packing.ts';
import { LinnetError } from '../errors.ts';
import { formatCount } from '../report/quantities.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { TrainingSettings } from '../training/settings.ts';
import type { TrainingValues } from './options/training-options.ts';
import type { Json } from './training-run.ts';

/** Text to train on. */
export interface PackedText {
  readonly dataset: PackedDataset;
  /** What --held-out leaves out. */
  readonly heldOut: readonly Document[];
  readonly summary: string;
  /** How it was read, for the record. */
  readonly configuration: Json;
}

/**
 * Reads what --data names, leaves out --held-out documents and packs the rest.
 * @throws LinnetError `INPUT` if nothing is left, and what `packDocuments` throws
 */
export async function loadPackedText(
  values: TrainingValues,
  { length }: Pick<TrainingSettings, 'length'>,
  tokenizer: Tokenizer,
): Promise<PackedText> {
  const { field, packing } = values;
  const { documents, heldOut } = await loadTrainingDocuments(values);
  const dataset = await packDocuments(documents, tokenizer, { length, mode: packing });
  const summary =
    `${formatCount(documents.length)} documents, ${formatCount(dataset.predictedTokens)} tokens ` +
    `in ${formatCount(dataset.rows)} rows`;
  return { dataset, heldOut, summary, configuration: { field, packing } };
}

/** The documents of --data, those at the end set aside. @throws LinnetError `INPUT` if nothing is left */
export async function loadTrainingDocuments(
  values: Pick<TrainingValues, 'data' | 'field' | 'heldOut'>,
): Promise<{ documents: Document[]; heldOut: Document[] }> {
  const all = await loadDocuments(values.data, { field: values.field });
  const documents = all.slice(0, Math.max(0, all.length - values.heldOut));
  if (documents.length === 0) {
    throw new LinnetError('INPUT', `there are ${all.length} documents, and --held-out leaves none to train on`);
  }
  return { documents, heldOut: all.slice(documents.length) };
}
