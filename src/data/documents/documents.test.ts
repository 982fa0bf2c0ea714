import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { loadDocuments } from './documents.ts';
import { type Line, readLines } from '../files/text-file.ts';

const folder = suiteFolder();

async function write(name: string, contents: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, contents);
  return path;
}

const failure = (code: string, message: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string });

describe('loadDocuments', () => {
  it('reads a text file as one document, line ends normalised', async () => {
    const path = await write('book.txt', '\ufeffone\r\ntwo\rthree\n');
    expect(await loadDocuments([path])).toEqual([{ text: 'one\ntwo\nthree\n', source: path }]);
  });

  it('reads the lines of several files in order, and says how far it is', async () => {
    const first = await write('first.jsonl', '{"text": "a\\r\\nb"}\r\n\n{"text": "日本", "more": [1]}');
    const second = await write('second.txt', 'end');
    const seen: unknown[] = [];
    const documents = await loadDocuments([first, second], { onProgress: (progress) => seen.push(progress) });
    expect(documents).toEqual([
      { text: 'a\r\nb', source: `${first}:1` },
      { text: '日本', source: `${first}:3` },
      { text: 'end', source: second },
    ]);
    expect(seen.at(-1)).toEqual({ source: second, documents: 3, characters: 9 });
  });

  it('takes another field by name', async () => {
    const path = await write('field.jsonl', '{"story": "a", "text": "b"}');
    expect((await loadDocuments([path], { field: 'story' }))[0].text).toBe('a');
    await expect(loadDocuments([path], { field: 'toString' })).rejects.toEqual(
      failure('FORMAT', 'its fields are: story, text'),
    );
  });

  it.each([
    ['{"text": 1}', 'has no string in the field "text"'],
    ['{"other": "a"}', 'its fields are: other'],
    ['["text"]', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['{"text": "a"', 'not valid JSON'],
  ])('names file and line of %s', async (line, message) => {
    const path = await write('bad.jsonl', `{"text": "fine"}\n${line}\n`);
    await expect(loadDocuments([path])).rejects.toEqual(failure('FORMAT', message));
    await expect(loadDocuments([path])).rejects.toEqual(failure('FORMAT', `${path}:2`));
  });

  it('refuses a line that is too long, and bytes that are not UTF-8', async () => {
    const long = await write('long.jsonl', `{"text": "${'a'.repeat(200)}"}\n`);
    await expect(loadDocuments([long], { maximumLineBytes: 100 })).rejects.toEqual(failure('FORMAT', `${long}:1`));
    for (const name of ['latin1.txt', 'latin1.jsonl']) {
      const path = await write(name, Buffer.from('{"text": "\xe9t\xe9"}', 'latin1'));
      await expect(loadDocuments([path])).rejects.toEqual(failure('FORMAT', 'not UTF-8'));
    }
  });

  it('refuses folders, missing files and files of other kinds', async () => {
    await expect(loadDocuments([folder])).rejects.toEqual(failure('PATH', 'is a folder'));
    for (const name of ['none.txt', 'none.jsonl', 'none']) {
      await expect(loadDocuments([join(folder, name)])).rejects.toEqual(failure('NOT_FOUND', name));
    }
    await expect(loadDocuments([await write('table.xlsx', '')])).rejects.toEqual(failure('INPUT', '.txt, .jsonl'));
  });
});

describe('readLines', () => {
  it('finds the lines that splitting the whole text finds, across the edges of chunks', async () => {
    const path = await write('lines', '');
    const text = fc.array(fc.constantFrom('a', '日', '\n', '\r\n', 'x'.repeat(40_000)), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(text, async (parts) => {
        await writeFile(path, parts.join(''));
        const lines: Line[] = [];
        for await (const line of readLines(path, 1 << 20)) lines.push(line);
        const expected = parts.join('').split(/\r?\n/);
        if (expected.at(-1) === '') expected.pop();
        expect(lines.map((line) => line.text)).toEqual(expected);
        expect(lines.map((line) => line.number)).toEqual(expected.map((_, index) => index + 1));
      }),
      { seed: 11, numRuns: 60 },
    );
  });
});
