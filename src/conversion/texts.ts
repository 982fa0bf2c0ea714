/** A conversion's texts: training text, validation text to decide which stages to keep, and test text for the report. */
import type { Document } from '../data/documents/document.ts';
import { documentTokens } from '../data/documents/document-tokens.ts';
import { packDocuments, type PackedDataset } from '../data/datasets/packing.ts';
import { LinnetError } from '../errors.ts';
import { evaluationData } from '../evaluation/perplexity/scored-windows.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A conversion's texts. */
export type ConversionTexts = Awaited<ReturnType<typeof conversionTexts>>;

/** Number of calibration texts, and tokens in each. */
export const calibrated = { count: 4, length: 256 } as const;
/** Characters per piece, and least number of pieces, for a text of few documents. */
const pieceCharacters = 2000;
const fewDocuments = 10;
/** Default share of documents held out as test text, and their largest number. */
const testShare = 0.05;
const mostTestDocuments = 20;

/**
 * Splits documents: the last are test text, as many before them validation text, the others training text. First cuts a book
 * of few documents into pieces.
 * @param options `heldOut`: test documents; default: a twentieth, at most 20 and `mostTokens`. `length`: tokens per measured
 *   window
 * @throws LinnetError `INPUT` if too little is left to train on
 */
export async function conversionTexts(
  documents: readonly Document[],
  tokenizer: Tokenizer,
  options: { readonly heldOut?: number; readonly length: number; readonly mostTokens?: number },
) {
  const { heldOut, length, mostTokens = Number.POSITIVE_INFINITY } = options;
  const characters = documents.reduce((total, { text }) => total + text.length, 0);
  const size = Math.min(pieceCharacters, Math.ceil(characters / fewDocuments));
  const pieces = documents.length < fewDocuments ? documents.flatMap((document) => cut(document, size)) : documents;
  const most = Math.min(mostTestDocuments, mostTokens / length, testShare * pieces.length);
  const count = heldOut ?? Math.max(1, Math.floor(most));
  const training = pieces.slice(0, -2 * count);
  if (training.length === 0) {
    throw new LinnetError(
      'INPUT',
      `${pieces.length} documents are too few: ${count} of test text and ${count} of validation text leave none to train on`,
    );
  }
  const measured = { mode: 'documents', length } as const;
  const validation = pieces.slice(-2 * count, -count);
  const test = pieces.slice(-count);
  const tokensOf = (part: readonly Document[]): Int32Array =>
    Int32Array.from(part.flatMap(({ text }) => [...documentTokens(tokenizer, text, false)]));
  return {
    training,
    /** Decides which stages to keep. */
    validation: await evaluationData(validation, tokenizer, measured),
    /** Measured before and after for the report; decides nothing. */
    test: await evaluationData(test, tokenizer, measured),
    /** The documents' tokens in sequence, for measurements over long contexts. */
    validationTokens: tokensOf(validation),
    testTokens: tokensOf(test),
  };
}

/** Pieces of about `characters` characters, each ending with a word. */
function cut(document: Document, characters: number): Document[] {
  const { text } = document;
  const pieces: Document[] = [];
  for (let start = 0; start < text.length; ) {
    const space = text.indexOf(' ', start + characters);
    const end = space < 0 ? text.length : space + 1;
    pieces.push({ ...document, text: text.slice(start, end) });
    start = end;
  }
  return pieces;
}

/**
 * Calibration texts of one length, from the start of the training text. @throws LinnetError `INPUT` if it is shorter than one
 * @example const texts = await calibrationTexts(await loadDocuments(['stories.jsonl']), tokenizer);
 *   console.log(texts.length);
 */
export async function calibrationTexts(
  training: readonly Document[],
  tokenizer: Tokenizer,
  { count = calibrated.count, length = calibrated.length }: { readonly count?: number; readonly length?: number } = {},
): Promise<Int32Array[]> {
  const { starts, counts, tokens } = await packDocuments(training.slice(0, 16 * count), tokenizer, {
    length,
    remainder: 'pad',
  });
  const whole = [...starts].filter((_, row) => counts[row] >= length);
  const texts = whole.slice(0, count).map((start) => tokens.slice(start, start + length));
  if (texts.length > 0) return texts;
  throw new LinnetError('INPUT', `calibration needs a text of ${length} tokens; give more data`);
}

/** Rows of training text. */
export function trainingRows(
  training: readonly Document[],
  tokenizer: Tokenizer,
  length: number,
): Promise<PackedDataset> {
  return packDocuments(training, tokenizer, { length, remainder: 'pad' });
}
