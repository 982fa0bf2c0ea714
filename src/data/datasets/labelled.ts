/** Labelled texts, tokenized as a kind of model reads them: rows to train and measure classifiers and regressions. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { LinnetError, OptionsError } from '../../errors.ts';
import { listNames, plainNames, quoteName } from '../../files/name-list.ts';
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

/** A text, or two, with its class name or its regression target. */
export interface LabelledText {
  readonly text: string;
  readonly pair?: string;
  readonly label: string;
  readonly source: string;
}

/** Field names of a record. */
export interface LabelledFields {
  readonly text: string;
  readonly pair?: string;
  readonly label: string;
}

/** Options that name a file's fields. */
export const labelShape = {
  textField: filledText.default('text').meta({
    placeholder: 'name',
    description: 'field or column of the text; a number is that of a column, in a file without header',
  }),
  pairField: filledText.optional().meta({ placeholder: 'name', description: 'field or column of a second text' }),
  labelField: filledText
    .default('label')
    .meta({ placeholder: 'name', description: 'field or column of the label, or of the number of regression' }),
};

const labelOptions = z.object(labelShape);

/** The fields that options name. */
export function labelledFields(options: z.input<typeof labelOptions>): LabelledFields {
  const { textField: text, pairField: pair, labelField: label } = labelOptions.parse(options);
  return { text, pair, label };
}

/** Labelled texts from .jsonl, .csv and .tsv files. @throws LinnetError like `readRecords` */
export async function readLabelledTexts(
  paths: readonly string[],
  { text, pair, label }: LabelledFields,
): Promise<LabelledText[]> {
  const records = await readRecords(paths, [text, label, ...(pair === undefined ? [] : [pair])]);
  if (records.length === 0) throw new LinnetError('INPUT', `${listNames(paths)} has no labelled texts; give more data`);
  return records.map(({ fields, source }) => ({
    text: fields.get(text) ?? '',
    label: fields.get(label) ?? '',
    source,
    ...(pair !== undefined && { pair: fields.get(pair) }),
  }));
}

/** The distinct labels: numbers in numeric order, other names in character order. */
export function labelsOf(texts: readonly Pick<LabelledText, 'label'>[]): string[] {
  const labels = [...new Set(texts.map(({ label }) => label))];
  const isNumeric = labels.every((label) => /^-?\d+$/.test(label));
  return isNumeric ? labels.sort((a, b) => Number(a) - Number(b)) : labels.sort((a, b) => (a < b ? -1 : 1));
}

/** The number that a label spells. @throws LinnetError `INPUT`, naming the row, if it is not one */
function numberOf({ label, source }: Pick<LabelledText, 'label' | 'source'>): number {
  const value = label.trim() === '' ? Number.NaN : Number(label);
  if (Number.isFinite(value)) return value;
  throw new LinnetError('INPUT', `${source} has the label "${label.slice(0, 80)}"; regression expects a number`);
}

interface LabelledRow {
  readonly tokens: Int32Array;
  /** Where the second text begins. */
  readonly pairStart: number;
  /** Class id, or the regression target. */
  readonly label: number;
}

/** Names, types and shapes of a labelled text's row. @param label `float32` for regression */
export function labelledInputs(length: number, label: 'int32' | 'float32' = 'int32') {
  return {
    tokens: int32Input(length),
    /** 0 on padding. */
    mask: float32Input(length),
    /** 1 for the second text. */
    segments: int32Input(length),
    /** Index of the last token. */
    last: int32Input(),
    /** Label id, or the regression target. */
    label: { dtype: label, shape: [] },
    /** Always 1. */
    weights: float32Input(),
  } satisfies RowInputs;
}

type LabelledBatch = BatchOf<ReturnType<typeof labelledInputs>>;

/** How labelled texts become rows. */
export interface LabelledOptions {
  /** How this kind of model reads texts. */
  readonly layout: TextLayout;
  /** Class names in id order; undefined for regression, whose labels are numbers. */
  readonly labels: readonly string[] | undefined;
  /** Longest row; cuts longer texts. */
  readonly length: number;
}

/** Labelled texts as rows of one length: the longest text's, or `length`. */
export class LabelledDataset implements RowDataset<LabelledBatch> {
  readonly length: number;
  readonly labels: readonly string[] | undefined;
  /** Rows that `length` cut. */
  readonly cutRows: number;
  readonly #rows: readonly LabelledRow[];
  readonly #padId: number;

  /** @throws LinnetError `INPUT` for no texts, an unknown or non-numeric label, or a text without tokens; `CONFIG` for a length without room for text */
  constructor(texts: readonly LabelledText[], tokenizer: Tokenizer, { layout, labels, length }: LabelledOptions) {
    if (texts.length === 0) throw new LinnetError('INPUT', 'there are no labelled texts');
    const idOf = idsOf(labels);
    this.labels = labels;
    this.#padId = tokenizer.padId ?? tokenizer.eosId ?? 0;
    let cutRows = 0;
    const noTokens = layOutText(layout, tokenizer, '', texts[0].pair && '', Infinity).tokens.length;
    if (noTokens >= length)
      throw new OptionsError(
        `\`length\` is ${length}, of which the ${noTokens} tokens around a text leave no room; give more`,
      );
    this.#rows = texts.map((labelled) => {
      const { text, pair, source } = labelled;
      const label = idOf(labelled);
      const row = layOutText(layout, tokenizer, text, pair, length);
      if (row.tokens.length === 0) throw new LinnetError('INPUT', `${source} has no token to classify`);
      if (row.omitted !== undefined) cutRows++;
      return { ...row, label };
    });
    this.cutRows = cutRows;
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

  /** SHA-256 of the rows and how they were made. */
  fingerprint(): string {
    const hash = createHash('sha256');
    hash.update(JSON.stringify({ kind: 'labelled', version: 1, length: this.length, padId: this.#padId }));
    hash.update(JSON.stringify(this.labels ?? 'numbers'));
    for (const { tokens, pairStart, label } of this.#rows) hash.update(`\n${label} ${pairStart}:${tokens.join(' ')}`);
    return hash.digest('hex');
  }
}

/** A label's number in a batch: its class id, or the regression target. */
function idsOf(labels: readonly string[] | undefined): (text: LabelledText) => number {
  if (labels === undefined) return numberOf;
  const ids = new Map(labels.map((label, id) => [label, id]));
  return ({ label, source }) => {
    const id = ids.get(label);
    if (id !== undefined) return id;
    throw new LinnetError('INPUT', `${source} has the label ${quoteName(label)}; the labels are ${plainNames(labels)}`);
  };
}
