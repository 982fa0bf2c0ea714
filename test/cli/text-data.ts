/** Texts, as data sets and in the files that commands take as data. */
import { writeFile } from 'node:fs/promises';
import { type PackedDataset, packDocuments } from '../../src/data/datasets/packing.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';

/** A text that a tiny model learns in a few updates. */
export const song = 'the linnet sings on the wire while the wind goes round the house';

/** Four documents, the third of them empty. */
export const fourStories: readonly string[] = ['A first story.', 'Another one, which is longer.', '', 'The last.'];

/** Writes a .jsonl file of a document a text: `{"text": …}`, a line each. */
export async function writeJsonlTexts(path: string, texts: readonly string[]): Promise<void> {
  await writeFile(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
}

/** Writes a .txt file of one sentence of 32 characters, some times over. */
export async function writeBook(path: string, sentences = 20): Promise<void> {
  await writeFile(path, 'It was a dark and stormy night. '.repeat(sentences));
}

/** Rows of `length` predictions of a byte model, of the song twelve times over. */
export function songRows(length = 20): Promise<PackedDataset> {
  return packDocuments([{ text: `${song}. `.repeat(12) }], byteTokenizer(), { length });
}
