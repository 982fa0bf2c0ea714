/** What the tests in a browser share: exported models, a bundled page on a site, and Chromium. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { bundlePage, launchChromium } from './chromium.ts';
import './page.ts';
import { type Site, type SiteOptions, serveSite } from './site.ts';

declare const crossOriginIsolated: boolean;

export const prompt = 'The state of the union';
export const sampling = { temperature: 0.9, topK: 40, topP: 0.95, seed: 7 };
export const maxTokens = 48;

/** Chromium at a site with the bundled page, the model `/model`, and all folders of the suite in `/exports`. */
export interface BrowserSuite extends AsyncDisposable {
  readonly site: Site;
  readonly browser: Browser;
  /** What Node generates with the model: greedy tokens, and sampled ones. */
  readonly greedy: readonly number[];
  readonly sampled: readonly number[];
  /** Gives a fresh page, where the engine has not started, to `use`. */
  inPage<T>(use: (page: Page) => Promise<T>, url?: string, from?: Browser): Promise<T>;
}

/**
 * Exports the augmented tiny model to `model` in the folder of a suite and opens a browser at it.
 * @param site what else lies there
 */
export async function openBrowserSuite(
  folder: string,
  { folders, special }: Partial<Pick<SiteOptions, 'folders' | 'special'>> = {},
): Promise<BrowserSuite> {
  const subject = await augmentedTinyLlama();
  const model = join(folder, 'model');
  await writeExportedModel(model, subject, { dtype: 'f32' });
  const tokenizer = await loadTokenizer(model);
  await using engine = await DecodingEngine.create(subject.model, subject.parameters);
  const promptTokens = tokenizer.encode(prompt, { bos: true });
  const options = { promptTokens, maxTokens, ignoreEos: true };
  const { tokens: greedy } = await generateToEnd(engine, options);
  const { tokens: sampled } = await generateToEnd(engine, { ...options, sampler: new Sampler(sampling) });
  await bundlePage(fileURLToPath(new URL('.', import.meta.url)), join(folder, 'page'));
  const site = await serveSite({ folders: { '': join(folder, 'page'), exports: folder, model, ...folders }, special });
  const browser = await launchChromium();
  return {
    site,
    browser,
    greedy,
    sampled,
    async inPage(use, url = site.url, from = browser) {
      const page = await from.newPage();
      page.setDefaultTimeout(100_000);
      try {
        await page.goto(`${url}index.html`);
        await page.waitForFunction('globalThis.linnet !== undefined');
        return await use(page);
      } finally {
        await page.close();
      }
    },
    async [Symbol.asyncDispose]() {
      await browser.close();
      await site[Symbol.asyncDispose]();
    },
  };
}

/** Greedy tokens of a page, with how it ran. */
export async function runIn(
  page: Page,
  options: { threads?: number },
  count = maxTokens,
  url = 'model',
  start = prompt,
) {
  const tokens = await page.evaluate(
    async ({ text, count, options, url }) => {
      const model = await globalThis.linnet.open(url, options);
      const [engine, { tokenizer }] = [await model.engine(), model];
      const promptTokens = tokenizer.encode(text, { bos: true });
      const prompt = { tokens: Array.from(promptTokens) };
      const job = { prompt, maxTokens: count, ignoreEos: true };
      const [written] = await globalThis.linnet.runTogether(engine, [job]);
      return written.tokens;
    },
    { text: start, count, options, url },
  );
  return { tokens, isolated: await page.evaluate(() => crossOriginIsolated), workers: page.workers().length };
}
