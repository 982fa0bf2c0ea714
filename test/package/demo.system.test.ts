/** examples/demo.ts, small, on the sources: it runs through, and its report stands alone. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const sentence = 'The linnet sang, and nobody on the whole grey quay looked up. ';
const folder = suiteFolder();
const model = join(folder, 'model');
const root = fileURLToPath(new URL('../..', import.meta.url));
const small = '--budget 1 --steps 2 --batch 2 --length 32 --tokens 6 --contexts 8,64';

beforeAll(async () => {
  await saveTinyModel(model);
});

async function demo(book: string, content: string): Promise<{ stdout: string; page: string }> {
  const [data, out] = [join(folder, book), join(folder, `${book}.html`)];
  await writeFile(data, content);
  const words = ['tsx', '--tsconfig', 'examples/tsconfig.json', 'examples/demo.ts', ...small.split(' ')];
  const { stdout } = await promisify(execFile)('npx', [...words, '--model', model, '--data', data, '--out', out], {
    cwd: root,
  });
  return { stdout, page: await readFile(out, 'utf8') };
}

describe('examples/demo.ts', () => {
  it('compares the mixers and writes one page that needs nothing else', async () => {
    const chapters = Array.from({ length: 20 }, () => `${JSON.stringify({ text: sentence.repeat(3) })}\n`);
    const { stdout, page } = await demo('chapters.jsonl', chapters.join(''));
    for (const name of ['softmax', 'local', 'local+global', 'local+conv', 'augmented']) {
      expect(stdout).toMatch(
        new RegExp(`^${name.replace('+', '\\+')} +perplexity \\d+\\.\\d → \\d+\\.\\d\\d in 2 optimizer steps$`, 'm'),
      );
      expect(page).toContain(name);
    }
    // Speculation gives the text of one-by-one decoding, whatever a model of two updates guesses.
    expect(stdout).toMatch(/^speculation: .* over 30 tokens, the text of one-by-one decoding;/m);
    expect(page).toContain('Several tokens per step');
    // Six charts of the conversion, two of the comparison and one of speculation, each for wide and narrow pages.
    expect(page.match(/<div class="wide"><svg/g)).toHaveLength(6 + 2 + 1);
    expect(page.match(/<svg /g)).toHaveLength(2 * (6 + 2 + 1));
    expect(page).toMatch(/<h2>(As good as|Nearly as good as|Worse than|Much worse than) before/);
    expect(page.match(/npm start -- --budget 1/g)).toHaveLength(1);
    // Names of XML dialects are not fetched; anything else with an address would be.
    const addresses = [...page.matchAll(/https?:\/\/[^\s"'<)]+/g)].map(([address]) => address);
    expect(addresses.filter((address) => !address.startsWith('http://www.w3.org/'))).toEqual([]);
    expect(page).not.toMatch(/<(link|script|img|iframe)\b[^>]*\b(src|href)=/i);
    expect(page).not.toMatch(/@import|url\((?!#)/);
  });

  it('takes a book that is one text', async () => {
    const { stdout } = await demo('book.txt', `${sentence}\n`.repeat(60));
    expect(stdout).toContain('augmented');
  });
});
