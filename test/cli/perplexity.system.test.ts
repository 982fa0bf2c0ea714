/** `linnet eval perplexity`: which tokens it predicts, of documents and of plain text. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { errorOf, linnet, runJson } from './captured-cli.ts';
import { thirdParty } from '../fixtures.ts';
import { linearizedModels } from '../models/linearized-models.ts';
import { fourStories, writeBook, writeJsonlTexts } from './text-data.ts';

const { folder, base, augmented } = linearizedModels();
const stories = join(folder, 'stories.jsonl');
const book = join(folder, 'book.txt');

beforeAll(async () => {
  await writeJsonlTexts(stories, fourStories);
  await writeBook(book, 10);
});

describe('eval perplexity', () => {
  it('predicts documents, all or some', async () => {
    const all = await runJson('eval', 'perplexity', base, '--data', stories, '--length', '16');
    // BOS + bytes cut to 16: 14, 15 and 9 predictions; the empty document has none.
    expect(all).toMatchObject({ tokens: 14 + 15 + 9, documents: 3 });
    expect(all.perplexity).toBeCloseTo(Math.exp(Number(all.nll)), 6);
    expect(await runJson('eval', 'perplexity', base, '--data', stories, '--documents', '1-2')).toMatchObject({
      tokens: 29,
      documents: 1,
    });
    expect(
      await runJson('eval', 'perplexity', base, '--data', stories, stories, '--limit-documents', '5'),
    ).toMatchObject({
      tokens: 14 + 29 + 9 + 14,
      documents: 4,
    });
  });

  it('compares models, and writes what it found', async () => {
    const file = join(folder, 'results.json');
    const words = ['--data', book, '--length', '32', '--out', file];
    const compared = await runJson('eval', 'perplexity', base, augmented, ...words);
    const alone = await runJson('eval', 'perplexity', augmented, '--data', book, '--length', '32');
    const { length, ...measured } = alone;
    const models = z.object({ models: z.array(z.looseObject({ model: z.string() })) }).parse(compared).models;
    expect(models.map(({ model }) => model)).toEqual([base, augmented]);
    expect([compared.length, models[1]]).toEqual([length, { model: augmented, ...measured }]);
    const written: unknown = JSON.parse(await readFile(file, 'utf8'));
    expect(written).toMatchObject({ format: 'linnet-results', results: compared });
    const people = await linnet('eval', 'perplexity', base, augmented, ...words); // replaces results
    expect(people.stdout).toMatch(/model +perplexity +change \(%\)/);
    const refused = await linnet('eval', 'perplexity', base, ...words.slice(0, -1), book);
    expect(refused.stderr).toMatch(/book.txt exists and does not hold Linnet's results/);
    const nowhere = await linnet('eval', 'perplexity', base, ...words.slice(0, -1), join(folder, 'absent/file'));
    expect(nowhere.stderr).toMatch(/there is no folder/);
  });

  it('warns of a range that is cut, and of windows beyond the trained length', async () => {
    const words = ['eval', 'perplexity', base, '--data', stories];
    const cut = await linnet(...words, '--documents', '1-9', '--length', '16');
    expect(cut.stderr).toMatch(/warning: there are only \d documents; reading 1-\d of 1-9/);
    const { trainedLength } = z.looseObject({ trainedLength: z.int() }).parse(await runJson('inspect', base));
    const long = await linnet(...words, '--length', String(trainedLength + 1));
    expect(long.stderr).toMatch(/warning: windows have \d+ tokens, .* was trained for/);
    expect((await linnet(...words, '--length', '16')).stderr).not.toMatch(/warning/);
  });

  it('slides over plain text', async () => {
    const reported = await runJson('eval', 'perplexity', augmented, '--data', book, '--length', '32', '--stride', '8');
    expect(reported).toMatchObject({ tokens: 320, documents: 1 });
  });

  it('does not change when softmax is replaced by itself', async () => {
    const out = join(folder, 'same');
    await runJson('linearize', augmented, '--mixer', 'softmax', '--out', out);
    const words = ['--data', book, '--length', '32'];
    expect(await runJson('eval', 'perplexity', out, ...words)).toEqual(
      await runJson('eval', 'perplexity', base, ...words),
    );
  });

  it.each([
    [['--data', 'nowhere.jsonl'], 3, 'NOT_FOUND'],
    [['--data', 'npm:left-pad'], 3, 'INPUT'],
    [[], 2, 'USAGE'],
    [['--data', 'x.txt', '--length', '1'], 2, 'USAGE'],
    [['--data', 'x.txt', '--length', '8', '--stride', '9'], 2, 'USAGE'],
    [['--data', 'x.jsonl', '--length', '8', '--stride', '4'], 2, 'USAGE'],
    [['--data', 'x.txt', '--documents', '3-1'], 2, 'USAGE'],
    [['--data', 'x.txt', '--documents', '0-1', '--limit-documents', '2'], 2, 'USAGE'],
  ])('refuses %j', async (words, exitCode, code) => {
    const result = await linnet('eval', 'perplexity', base, ...words, '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).code).toBe(code);
  });

  it('names the documents there are when asked for others', async () => {
    const result = await linnet('eval', 'perplexity', base, '--data', stories, '--documents', '4-9');
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toContain('there are only 4 documents');
  });
});

const realModel = thirdParty('stories260k');
const realText = thirdParty('text/tinystories.jsonl');

describe.skipIf(realModel === undefined || realText === undefined)('stories260k (third-party fixtures)', () => {
  it('has the perplexity that PyTorch computes', async () => {
    const words = ['eval', 'perplexity', realModel ?? '', '--data', realText ?? '', '--documents', '110-129'];
    const reported = await runJson(...words);
    expect(reported.perplexity).toBeCloseTo(7.038, 2);
  });
});
