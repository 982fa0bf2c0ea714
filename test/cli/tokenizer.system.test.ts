/** `linnet tokenizer train`: a folder that Hugging Face libraries read. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { linnet, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { fourStories, writeBook, writeJsonlTexts } from './text-data.ts';

const folder = suiteFolder();
const stories = join(folder, 'stories.jsonl');
const book = join(folder, 'book.txt');

beforeAll(async () => {
  await writeJsonlTexts(stories, fourStories);
  await writeBook(book, 10);
});

describe('tokenizer train', () => {
  it('writes a tokenizer that Hugging Face libraries read', async () => {
    const out = join(folder, 'tokenizer');
    const words = ['tokenizer', 'train', '--data', book, stories, '--vocabulary', '270', '--out', out];
    expect(await runJson(...words)).toMatchObject({ vocabulary: 270, documents: 5, out });
    const tokenizer = await loadTokenizer(out);
    expect(tokenizer.vocabularySize).toBe(270);
    expect(tokenizer.encode('stormy night').length).toBeLessThan('stormy night'.length);
    const first = await readFile(join(out, 'tokenizer.json'), 'utf8');
    await runJson(...words, '--replace');
    expect(await readFile(join(out, 'tokenizer.json'), 'utf8')).toBe(first);
  });

  it('refuses a vocabulary smaller than the bytes, and an existing folder', async () => {
    const words = ['tokenizer', 'train', '--data', book, '--out', folder];
    expect((await linnet(...words, '--vocabulary', '257')).exitCode).toBe(2);
    const existing = await linnet(...words);
    expect(existing.exitCode).toBe(3);
    // Before the text is read.
    expect(existing.stderr).toMatch(/^linnet: \S+ exists; name another folder with --out, or give --replace\n$/);
  });
});
