/** The pairs of a training plan: a text to read and one to generate, from a table or by cutting spans out of plain text. */
import { z } from 'zod';
import { readRecords } from '../../data/files/records.ts';
import { type PairDataset, SpanCorruptionDataset, TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { sentinelIds } from '../../data/datasets/span-corruption.ts';
import { OptionsError } from '../../errors.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { formatCount } from '../../report/quantities.ts';
import type { JsonValue } from '../../report/record.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { described, type TrainingSettings } from '../settings.ts';
import type { TrainingOptions } from './options.ts';
import { loadTrainingDocuments, withoutHeldOut } from './text.ts';

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

export type LoadPairsOptions = Pick<TrainingOptions, 'data' | 'field' | 'heldOut'> &
  z.output<z.ZodObject<typeof pairShape>>;

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
