/** Hostile exports in a page: each is refused with a typed error or writes; the page lives on, and so does what it had open. */
import { createHash } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportFolder } from '../../src/export/export-model.ts';
import { manifestSchema } from '../../src/export/manifest.ts';
import { Random } from '../../src/random.ts';
import { mutated } from '../fuzz/mutations.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { type BrowserSuite, openBrowserSuite } from './browser-suite.ts';
import { launchChromium, noChromium } from './chromium.ts';

/** What is damaged in turn, and how. */
const targets = [
  ['linnet.json', 'json'],
  ['config.json', 'json'],
  ['tokenizer.json', 'json'],
  ['model.onnx', 'binary'],
  ['model.onnx.data', 'binary'],
] as const;

/** The damaged exports of a device, by their number. A GPU that the processor imitates takes 17 s for each. */
const devices = [
  { device: 'wasm', numbers: Array.from({ length: 15 }, (_, at) => at) },
  { device: 'webgpu', numbers: [3, 4] },
] as const;

describe.skipIf(noChromium !== undefined)(
  `hostile exports in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let suite: BrowserSuite;
    let gpu: Browser;

    beforeAll(async () => {
      await saveTinyModel(join(folder, 'llama'));
      for (const { device, numbers } of devices) {
        const sound = join(folder, device);
        await exportFolder(join(folder, 'llama'), sound, { dtype: 'f32', device: device === 'wasm' ? 'cpu' : device });
        for (const at of numbers) await damage(sound, `${sound}-${at}`, at);
      }
      suite = await openBrowserSuite(folder);
      gpu = await launchChromium({ gpu: true });
    }, 120_000);

    afterAll(async () => {
      await gpu.close();
      await suite[Symbol.asyncDispose]();
    });

    it.each(devices)(
      'on $device',
      async ({ device, numbers }) => {
        const browser = device === 'wasm' ? suite.browser : gpu;
        const outcomes: string[] = [];
        for (const at of numbers) {
          const outcome = await suite.inPage(
            (page) => opened(page, device, `exports/${device}-${at}`),
            suite.site.url,
            browser,
          );
          outcomes.push(`${targets[at % targets.length][0]} ${at}: ${outcome}`);
        }
        expect(outcomes.filter((outcome) => !/: ([A-Z_]+|written), alive$/.test(outcome))).toEqual([]);
        expect(outcomes.filter((outcome) => outcome.includes('written')).length).toBeLessThan(numbers.length);
      },
      300_000,
    );
  },
);

/** Opens the sound model and a damaged one, and writes with both. */
function opened(page: Page, device: 'wasm' | 'webgpu', url: string): Promise<string> {
  return page.evaluate(
    async ({ device, url }) => {
      const { LinnetError, open } = globalThis.linnet;
      const write = async (from: string): Promise<string> => {
        try {
          const model = await open(from, { device });
          try {
            const text = model.generate('It was', { maxTokens: 2, ignoreEos: true });
            await text.text();
            return 'written';
          } finally {
            await model.dispose();
          }
        } catch (error) {
          return error instanceof LinnetError ? error.code : `untyped ${String(error)}`;
        }
      };
      const late = new Promise<string>((resolve) => setTimeout(() => resolve('late'), 30_000));
      const outcome = await Promise.race([write(url), late]);
      return `${outcome}, ${(await write(`exports/${device}`)) === 'written' ? 'alive' : 'dead'}`;
    },
    { device, url },
  );
}

/** A copy of an export with one damaged file, whose size and hash are as its manifest says. */
async function damage(from: string, to: string, at: number): Promise<void> {
  await cp(from, to, { recursive: true });
  const [name, kind] = targets[at % targets.length];
  const bytes = mutated([await readFile(join(from, name))], kind, new Random(at));
  await writeFile(join(to, name), bytes);
  if (name === 'linnet.json') return;
  const manifest = manifestSchema.parse(JSON.parse(await readFile(join(from, 'linnet.json'), 'utf8')));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const files = { ...manifest.files, [name]: { bytes: bytes.length, sha256 } };
  await writeFile(join(to, 'linnet.json'), JSON.stringify({ ...manifest, files }));
}
