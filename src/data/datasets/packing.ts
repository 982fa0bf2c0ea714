/** Packed text as a data set for Node, with a fingerprint to recognize it when a run resumes. */
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { fingerprint } from '../rows/fingerprint.ts';
import { PackedRows, type PackedTexts, type PackingOptions, packRows, type PackedBatch } from './packed-rows.ts';
import type { RowDataset } from '../rows/row-dataset.ts';

/** Training rows over one array of tokens. */
export class PackedDataset extends PackedRows implements RowDataset<PackedBatch> {
  /** SHA-256 of the tokens and how they are cut. */
  fingerprint(): string {
    const { length, padId, tokens, starts, counts } = this;
    const described = { version: 1, length, padId, tokens: tokens.length, rows: starts.length };
    return fingerprint(described, [tokens, starts, counts]);
  }
}

/**
 * Tokenizes documents and cuts them into rows. Each document starts with BOS; a tokenizer without BOS ends it with EOS
 * instead, if it has one.
 * @throws LinnetError `INPUT` if `length` is not a positive integer, or the text is too short for a single row.
 */
export async function packDocuments(
  documents: PackedTexts,
  tokenizer: Tokenizer,
  options: PackingOptions,
): Promise<PackedDataset> {
  return new PackedDataset(await packRows(documents, tokenizer, options));
}
