/**
 * Inputs of the models of a study, in the form of their kind: a causal model predicts the next token, an encoder masked ones
 * (BERT, arXiv 1810.04805), an encoder-decoder model the spans that were cut out (T5, arXiv 1910.10683).
 */
import { maskingIds, MaskedDataset } from '../../data/datasets/masked.ts';
import { packDocuments } from '../../data/datasets/packing.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import { SpanCorruptionDataset } from '../../data/datasets/sequence-pairs.ts';
import { sentinelIds } from '../../data/datasets/span-corruption.ts';
import { LinnetError } from '../../errors.ts';
import { type EvaluationData, evaluationData, scoredTokens } from '../../evaluation/perplexity/scored-windows.ts';
import { dataOf } from '../../graph/tensor.ts';
import type { Model } from '../../models/families/index.ts';
import { byKind, type EncoderDecoderModel, type EncoderModel } from '../../models/model.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { maskedObjective, sequenceObjective } from '../../training/objectives/encoders.ts';
import { causalObjective, type Objective, weightsInput } from '../../training/objectives/next-token.ts';
import { sha256 } from '../../files/digest.ts';

/** Text to measure on: windows of a causal model, or rows of the objective of the others. */
export type HeldOutText =
  | { readonly kind: 'windows'; readonly data: EvaluationData }
  | { readonly kind: 'rows'; readonly rows: RowDataset };

export interface StudyText {
  readonly dataset: RowDataset;
  readonly heldOut: HeldOutText;
  readonly scored: number;
}

interface Documents {
  readonly training: readonly { readonly text: string }[];
  readonly heldOut: readonly { readonly text: string }[];
}

/** Tokens of a row, and the most windows, or rows, of held-out text. */
interface TextOptions {
  readonly length: number;
  readonly windows: number;
}

/** Seed of masks and cut spans, alike for all seeds of a study; those draw weights and order. */
const maskSeed = 0;

/** @throws LinnetError `CONFIG` for an encoder without room for CLS, SEP and mask, `INPUT` for too little text */
export async function studyText(
  model: Model,
  tokenizer: Tokenizer,
  documents: Documents,
  options: TextOptions,
): Promise<StudyText> {
  return await byKind(model, {
    causal: () => windowText(tokenizer, documents, options),
    encoder: (own) => rowText(maskedRows(own, tokenizer, options), documents, options),
    'encoder-decoder': (own) => rowText(spanRows(own, tokenizer, options), documents, options),
  });
}

/** Models whose text is the same have the same key. */
export function textKey({ kind, sizes: { vocabulary } }: Model, length: number): string {
  // Ids that the tokenizer lacks are at the end of the vocabulary.
  return kind === 'causal' ? `${kind} ${length}` : `${kind} ${length} ${vocabulary}`;
}

function rowText(rowsOf: RowsOf, { training, heldOut }: Documents, { windows }: TextOptions): StudyText {
  const rows = firstRows(rowsOf(heldOut), windows);
  return { dataset: rowsOf(training), heldOut: { kind: 'rows', rows }, scored: weightOf(rows) };
}

async function windowText(
  tokenizer: Tokenizer,
  { training, heldOut }: Documents,
  { length, windows: most }: TextOptions,
): Promise<StudyText> {
  const all = await evaluationData(heldOut, tokenizer, { mode: 'text', length, stride: length });
  const data = { ...all, windows: all.windows.slice(0, most) };
  return {
    dataset: await packDocuments(training, tokenizer, { length }),
    heldOut: { kind: 'windows', data },
    scored: scoredTokens(data.windows),
  };
}

type RowsOf = (texts: readonly { readonly text: string }[]) => RowDataset;

function maskedRows({ family, sizes }: EncoderModel, tokenizer: Tokenizer, { length }: TextOptions): RowsOf {
  const ids = maskingIds(tokenizer, sizes.vocabulary);
  if (ids === undefined) {
    throw new LinnetError(
      'CONFIG',
      `a ${family} model learns by masked tokens, and the tokenizer has no CLS, SEP and mask token; give the configuration a ` +
        `vocab_size of at least ${tokenizer.vocabularySize + 3}, whose last three ids stand for them, not ${sizes.vocabulary}`,
    );
  }
  return (texts) => new MaskedDataset(texts, tokenizer, { length, seed: maskSeed, ids });
}

function spanRows({ startId, sizes }: EncoderDecoderModel, tokenizer: Tokenizer, { length }: TextOptions): RowsOf {
  const sentinels = sentinelIds(tokenizer, sizes.vocabulary);
  return (texts) => new SpanCorruptionDataset(texts, tokenizer, { length, startId, seed: maskSeed, sentinels });
}

export function studyObjective(model: Model, { length, inputs }: RowDataset): Objective {
  return byKind(model, {
    causal: (own) => causalObjective(own, length),
    encoder: (own) => maskedObjective(own, length),
    'encoder-decoder'(own) {
      const [source] = inputs.source.shape;
      const [target] = inputs.labels.shape;
      return sequenceObjective(own, { source, target });
    },
  });
}

/** The same data without the rows from `rows` on. */
function firstRows(dataset: RowDataset, rows: number): RowDataset {
  const { length, inputs } = dataset;
  const kept = Math.min(rows, dataset.rows);
  return {
    rows: kept,
    length,
    inputs,
    batch: (visits) => dataset.batch(visits),
    fingerprint: () => sha256(`${kept} ${dataset.fingerprint()}`),
  };
}

/** Predictions that count, when all rows are seen in their first pass. */
function weightOf(dataset: RowDataset): number {
  let weight = 0;
  for (let row = 0; row < dataset.rows; row++) {
    for (const value of dataOf(dataset.batch([{ row, epoch: 0 }])[weightsInput], 'float32')) weight += value;
  }
  return weight;
}
