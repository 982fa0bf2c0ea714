import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { textTokens } from './encode-text.ts';
import { whenEncoded } from './later-encoding.ts';
import { loadTokenizer } from './tokenizer.ts';

const model = 'assets/tiny-llama';

describe('a long text in another thread', () => {
  it('has the tokens that it has in this one, which goes on meanwhile', async () => {
    const tokenizer = await loadTokenizer(model);
    const text = (await readFile('README.md', 'utf8')).repeat(40).slice(0, 300_000);
    const before = performance.now();
    const expected = textTokens(tokenizer, text);
    const inPlace = performance.now() - before;
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    expect(await whenEncoded(() => textTokens(tokenizer, text))).toEqual(expected);
    clearInterval(timer);
    expect(longest).toBeLessThan(inPlace / 2);
  });

  it('has the tokens of the tokenizer in memory where the files are others by then', async () => {
    const folder = await scratchFolder();
    const names = ['tokenizer.json', 'tokenizer_config.json'];
    for (const name of names) await copyFile(join(model, name), join(folder, name));
    const tokenizer = await loadTokenizer(folder);
    const text = 'a'.repeat(50_000);
    const expected = tokenizer.encode(text);
    const others = [
      () => writeFile(join(folder, 'tokenizer_config.json'), '{}'),
      () => rm(join(folder, 'tokenizer.json')),
    ];
    for (const change of others) {
      await change();
      expect(await whenEncoded(() => tokenizer.encode(text))).toEqual(expected);
    }
  });
});
