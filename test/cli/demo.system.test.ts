/** The demo, small: it runs through, and its report stands alone. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { comparedMixers } from '../../src/cli/commands/demo/study.ts';
import { runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const sentence = 'The linnet sang, and nobody on the whole grey quay looked up. ';
const folder = suiteFolder();
const model = join(folder, 'model');

beforeAll(async () => {
  await saveTinyModel(model);
});

async function demo(book: string, content: string): Promise<{ reported: Record<string, unknown>; page: string }> {
  const data = join(folder, book);
  const out = join(folder, `${book}.html`);
  await writeFile(data, content);
  const small = [
    '--budget',
    '1s',
    '--steps',
    '2',
    '--batch',
    '2',
    '--length',
    '32',
    '--held-out-windows',
    '4',
    '--max-tokens',
    '6',
  ];
  const words = ['demo', '--model', model, '--data', data, ...small, '--contexts', '8,64', '--out', out];
  return { reported: await runJson(...words), page: await readFile(out, 'utf8') };
}

describe('demo', () => {
  it('compares the mixers and writes one page that needs nothing else', async () => {
    const chapters = Array.from({ length: 20 }, () => `${JSON.stringify({ text: sentence.repeat(3) })}\n`);
    const { reported, page } = await demo('chapters.jsonl', chapters.join(''));
    expect(reported).toMatchObject({
      report: join(folder, 'chapters.jsonl.html'),
      rows: comparedMixers.map((name) => ({ name })),
      speeds: { softmax: [{ context: 8 }, { context: 64 }], augmented: [{ context: 8 }, { context: 64 }] },
    });
    // Speculation gives the text of one-by-one decoding, whatever a model of two updates guesses.
    const texts = 5;
    expect(reported.speculation).toMatchObject({ drafter: 'lookup', texts, tokens: texts * 6, mismatches: 0 });
    expect(page).toContain('Several tokens per step');
    expect(page).toContain('Guesses by their place in the tree');
    // Softmax in the place of softmax is the original model.
    expect(reported.rows).toMatchObject([{ name: 'softmax', before: reported.base }, {}, {}, {}, {}]);
    for (const name of comparedMixers) expect(page).toContain(name);
    // Six charts of the conversion, four of the demo, each for wide and narrow pages; the tree keeps its size.
    expect(page.match(/<div class="wide"><svg/g)).toHaveLength(6 + 4);
    expect(page.match(/<svg/g)).toHaveLength(2 * (6 + 4) + 1);
    expect(page).toContain('As good as before, at constant memory');
    expect(reported).toHaveProperty('conversion.original.perplexity');
    // Names of XML dialects are not fetched; anything else with an address would be.
    const addresses = [...page.matchAll(/https?:\/\/[^\s"'<)]+/g)].map(([address]) => address);
    expect(addresses.filter((address) => !address.startsWith('http://www.w3.org/'))).toEqual([]);
    expect(page).not.toMatch(/<(link|script|img|iframe)\b[^>]*\b(src|href)=/i);
    expect(page).not.toMatch(/@import|url\((?!#)/);
  });

  it('takes a book that is one text', async () => {
    const { reported } = await demo('book.txt', `${sentence}\n`.repeat(60));
    expect(reported.rows).toHaveLength(comparedMixers.length);
  });
});
