/** Texts with labels or numbers, tokenized as a kind of model reads them: rows for training a classifier and for measuring it. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { plainNames, quoteName } from '../../files/name-list.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { longestLength } from '../rows/longest.ts';
import {
  type BatchOf,
  emptyBatch,
  float32Input,
  int32Input,
  type RowDataset,
  type RowInputs,
  type RowVisit,
} from '../rows/row-dataset.ts';
import { readRecords } from '../files/records.ts';
import { layOutText, type TextLayout } from './text-layouts.ts';
import { filledText } from '../../files/schema-values.ts';

/** A text, or two, with the name of its class, or the number that regression is to find. */
export interface LabelledText {
  readonly text: string;
  readonly pair?: string;
  readonly label: string;
  readonly source: string;
}

/** Names of the fields of a record. */
export interface LabelledFields {
  readonly text: string;
  readonly pair?: string;
  readonly label: string;
}

/** Options for the names of the fields of a file. */
export const labelShape = {
  textField: filledText.default('text').meta({
    placeholder: 'name',
    description: 'field or column of the text; a number is that of a column, in a file without header',
  }),
  pairField: z
    .string()
    .min(1)
    .optional()
    .meta({ placeholder: 'name', description: 'field or column of a second text' }),
  labelField: z
    .string()
    .min(1)
    .default('label')
    .meta({ placeholder: 'name', description: 'field or column of the label, or of the number of regression' }),
};

const labelOptions = z.object(labelShape);

/** The fields that options name. */
export function labelledFields(options: z.input<typeof labelOptions>): LabelledFields {
  const { textField: text, pairField: pair, labelField: label } = labelOptions.parse(options);
  return { text, pair, label };
}

/** Labelled texts of .jsonl, .csv and .tsv files. @throws LinnetError as `readRecords` */
export async function readLabelledTexts(
  paths: readonly string[],
  { text, pair, label }: LabelledFields,
): Promise<LabelledText[]> {
  const records = await readRecords(paths, [text, label, ...(pair === undefined ? [] : [pair])]);
  return records.map(({ fields, source }) => ({
    text: fields.get(text) ?? '',
    label: fields.get(label) ?? '',
    source,
    ...(pair !== undefined && { pair: fields.get(pair) }),
  }));
}

/** The labels that occur: numbers in their order, other names in that of their characters. */
export function labelsOf(texts: readonly Pick<LabelledText, 'label'>[]): string[] {
  const labels = [...new Set(texts.map(({ label }) => label))];
  const isNumeric = labels.every((label) => /^-?\d+$/.test(label));
  return isNumeric ? labels.sort((a, b) => Number(a) - Number(b)) : labels.sort((a, b) => (a < b ? -1 : 1));
}

/**
 * The number that a label spells. @throws LinnetError `INPUT`, naming the row, for one that is none
 */
function numberOf({ label, source }: Pick<LabelledText, 'label' | 'source'>): number {
  const value = label.trim() === '' ? Number.NaN : Number(label);
  if (Number.isFinite(value)) return value;
  throw new LinnetError('INPUT', `${source} has the label "${label.slice(0, 80)}"; regression expects a number`);
}

interface LabelledRow {
  readonly tokens: Int32Array;
  /** Where the second text begins. */
  readonly pairStart: number;
  /** Id of the class, or the number of regression. */
  readonly label: number;
}

/** Names, types and shapes of a row of labelled text. @param label `float32` for regression */
export function labelledInputs(length: number, label: 'int32' | 'float32' = 'int32') {
  return {
    tokens: int32Input(length),
    /** 0 on padding. */
    mask: float32Input(length),
    /** 1 for the second text. */
    segments: int32Input(length),
    /** The place of the last token. */
    last: int32Input(),
    /** Id of the label, or the number of regression. */
    label: { dtype: label, shape: [] },
    /** One. */
    weights: float32Input(),
  } satisfies RowInputs;
}

type LabelledBatch = BatchOf<ReturnType<typeof labelledInputs>>;

/** How labelled texts become rows. */
export interface LabelledOptions {
  /** How the kind of model reads texts. */
  readonly layout: TextLayout;
  /** Names of the classes, in the order of their ids; undefined for regression, where labels are numbers. */
  readonly labels: readonly string[] | undefined;
  /** Longest row; longer texts are cut. */
  readonly length: number;
}

/** Labelled texts as rows of one length: the longest text's, or `length`. */
export class LabelledDataset implements RowDataset<LabelledBatch> {
  readonly length: number;
  readonly labels: readonly string[] | undefined;
  readonly #rows: readonly LabelledRow[];
  readonly #padId: number;

  /** @throws LinnetError `INPUT` for no texts, an unknown label, one that is not a number, or a text without a token */
  constructor(texts: readonly LabelledText[], tokenizer: Tokenizer, { layout, labels, length }: LabelledOptions) {
    if (texts.length === 0) throw new LinnetError('INPUT', 'there are no labelled texts');
    const idOf = idsOf(labels);
    this.labels = labels;
    this.#padId = tokenizer.padId ?? tokenizer.eosId ?? 0;
    this.#rows = texts.map((labelled) => {
      const { text, pair, source } = labelled;
      const label = idOf(labelled);
      const row = layOutText(layout, tokenizer, text, pair, length);
      if (row.tokens.length === 0) throw new LinnetError('INPUT', `${source} has no token to classify`);
      return { ...row, label };
    });
    this.length = longestLength(this.#rows.map(({ tokens }) => tokens));
  }

  get rows(): number {
    return this.#rows.length;
  }

  /** Names, types and shapes of a row's arrays, the inputs of the objective. */
  get inputs() {
    return labelledInputs(this.length, this.labels === undefined ? 'float32' : 'int32');
  }

  batch(visits: readonly RowVisit[]): LabelledBatch {
    const { length } = this;
    const batch = emptyBatch(this.inputs, visits.length);
    batch.tokens.data.fill(this.#padId);
    batch.weights.data.fill(1);
    visits.forEach(({ row }, place) => {
      const { tokens, pairStart, label } = this.#rows[row];
      const start = place * length;
      batch.tokens.data.set(tokens, start);
      batch.mask.data.fill(1, start, start + tokens.length);
      batch.segments.data.fill(1, start + pairStart, start + tokens.length);
      batch.last.data[place] = tokens.length - 1;
      batch.label.data[place] = label;
    });
    return batch;
  }

  /** SHA-256 of the rows and of how they were made. */
  fingerprint(): string {
    const hash = createHash('sha256');
    hash.update(JSON.stringify({ kind: 'labelled', version: 1, length: this.length, padId: this.#padId }));
    hash.update(JSON.stringify(this.labels ?? 'numbers'));
    for (const { tokens, pairStart, label } of this.#rows) hash.update(`\n${label} ${pairStart}:${tokens.join(' ')}`);
    return hash.digest('hex');
  }
}

/** The number of a label in a batch: the id of its class, or the value of a regression. */
function idsOf(labels: readonly string[] | undefined): (text: LabelledText) => number {
  if (labels === undefined) return numberOf;
  const ids = new Map(labels.map((label, id) => [label, id]));
  return ({ label, source }) => {
    const id = ids.get(label);
    if (id !== undefined) return id;
    throw new LinnetError('INPUT', `${source} has the label ${quoteName(label)}; the labels are ${plainNames(labels)}`);
  };
}
