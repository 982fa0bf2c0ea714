/** Reads text from files and corpus packages as a stream of documents. */
import { extname } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { plainNames } from '../../files/name-list.ts';
import { corpusPrefix, readCorpus } from './corpora.ts';
import type { Document } from './document.ts';
import { standardInput, standardInputName } from '../files/standard-input.ts';
import { readRows } from '../files/rows.ts';
import { openTextFile, readTextFile } from '../files/text-file.ts';

export type { Document };

/** Options of `readDocuments`. */
export interface ReadDocumentsOptions {
  /** JSON field that holds the text. Default `text`. */
  readonly field?: string;
  /** Longest .jsonl line in bytes. Default 16 MiB. */
  readonly maximumLineBytes?: number;
  /** Called after every document. */
  readonly onProgress?: (progress: ReadProgress) => void;
}

/** Documents and characters read so far. */
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
 * The documents of several sources, in order. A source is a `.txt` file (one document, line ends normalized), a `.jsonl` file
 * (a JSON object per line, one of its fields the text; skips blank lines), `npm:PACKAGE` for a known corpus package, or `-`
 * for the standard input (one document).
 * @throws LinnetError `INPUT` for an unknown kind of source, `NOT_FOUND`, `PATH` for a folder, `FORMAT` (naming file and
 *   line) for malformed contents.
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

/** All of `readDocuments` at once, for callers that need the number of documents, such as splits. */
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

/** Reports folders and missing files as such, rather than as files of unknown kind. */
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
