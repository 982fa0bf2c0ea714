/**
 * Published tokenizers against Hugging Face's library in Rust (tokenizers by way of @anush008/tokenizers 0.6.0, special tokens not
 * looked for in texts): golden/published-tokenizers holds the first eight digits of the SHA-256 of every text's ids.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseJsonObject } from '../../src/files/json-object.ts';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { golden } from '../fixtures.ts';
import { hardTexts, longWord } from '../models/hard-texts.ts';
import { publishedFile, publishedNames, publishedPath } from '../models/published-tokenizers.ts';

const expected = z
  .record(z.string(), z.object({ texts: z.string(), long: z.string() }))
  .parse(JSON.parse(readFileSync(join(golden('published-tokenizers'), 'ids.json'), 'utf8')));

function digest(ids: Int32Array): string {
  return createHash('sha256').update(ids.join()).digest('hex').slice(0, 8);
}

describe.each(publishedNames)('the tokenizer of %s', (name) => {
  const parsed = (file: 'tokenizer.json' | 'tokenizer_config.json') =>
    parseJsonObject(new TextEncoder().encode(publishedFile(name, file)), file);
  const tokenizer = huggingFaceTokenizer({
    tokenizerJson: parsed('tokenizer.json'),
    tokenizerConfigJson: parsed('tokenizer_config.json'),
  });

  it('has the ids of the reference on a thousand hard texts', () => {
    const digests = expected[name].texts.split(' ');
    const texts = hardTexts();
    expect(digests).toHaveLength(texts.length);
    const different = texts.filter((text, index) => digest(tokenizer.encode(text)) !== digests[index]);
    expect(different).toEqual([]);
  });

  it('has them on a megabyte without a blank', () => {
    const started = performance.now();
    expect(digest(tokenizer.encode(longWord()))).toBe(expected[name].long);
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  it('gives texts back, names of control tokens too', () => {
    for (const text of hardTexts()) {
      const wellFormed = text.replace(/\p{Surrogate}/gu, '\ufffd');
      const normalized = name === 'qwen3' ? wellFormed.normalize('NFC') : wellFormed;
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(normalized);
    }
  });
});

/** Loads a tokenizer, encodes a text, and prints by how many MiB the peak of the process has grown, and both times. */
const script = `
import { loadTokenizer } from './src/tokenizer/tokenizer.ts';
(await loadTokenizer('assets/tiny-llama')).encode('a');
const times = [performance.now()];
const before = process.resourceUsage().maxRSS;
const tokenizer = await loadTokenizer(process.argv.at(-1));
times.push(performance.now());
tokenizer.encode('Grüße aus Köln');
times.push(performance.now());
const mebibytes = (process.resourceUsage().maxRSS - before) / 1024;
console.log(JSON.stringify({ mebibytes, loading: times[1] - times[0], first: times[2] - times[1] }));
`;

describe('262,000 tokens', () => {
  it('are loaded within 300 MiB, and the first text is no second loading', async () => {
    const flags = ['--import', 'tsx', '--input-type=module', '--eval', script];
    const folder = dirname(publishedPath('gemma3', 'tokenizer.json'));
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, folder], { cwd });
    const { mebibytes, loading, first } = z
      .object({ mebibytes: z.number(), loading: z.number(), first: z.number() })
      .parse(JSON.parse(stdout));
    expect(mebibytes).toBeLessThanOrEqual(300);
    expect(first).toBeLessThan(loading / 10);
  });
});
