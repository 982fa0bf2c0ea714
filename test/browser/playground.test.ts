/** The playground in Chromium: writes what Node writes, with and without threads, and is readable for everybody. */
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import axeCore from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPlayground, servePlayground } from '../../scripts/playground-site.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../../src/decoding/generate.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { augmentedTinyLlama } from '../export/exported-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { launchChromium, noChromium } from './chromium.ts';

declare global {
  var axe: typeof axeCore;
}

const prompt = 'The state of the union';
const count = 48;
/** Where screenshots go, for those who want to look. */
const pictures = process.env.LINNET_SCREENSHOTS;

describe.skipIf(noChromium !== undefined)(
  `the playground${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = join(suiteFolder(), 'playground');
    let browser: Browser;
    /** What Node writes: the text, and its tokens with those of the prompt. */
    let written: string;
    let tokens: readonly number[];

    beforeAll(async () => {
      await buildPlayground(folder);
      const subject = await augmentedTinyLlama();
      const tokenizer = await loadTokenizer(join(folder, 'model'));
      await using engine = await DecodingEngine.create(subject.model, subject.parameters);
      const promptTokens = tokenizer.encode(prompt, { bos: true });
      const generated = await generateToEnd(engine, { promptTokens, maxTokens: count, ignoreEos: true });
      written = tokenizer.decode([...promptTokens, ...generated.tokens]).slice(prompt.length);
      tokens = [...promptTokens, ...generated.tokens];
      browser = await launchChromium();
    }, 200_000);

    afterAll(() => browser.close());

    /** Opens the page and waits for its model; collects what goes wrong, and addresses of other hosts. */
    async function openPlayground(url: string, query = ''): Promise<{ page: Page; faults: string[] }> {
      const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
      page.setDefaultTimeout(100_000);
      const faults: string[] = [];
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') faults.push(message.text());
      });
      page.on('pageerror', (error) => faults.push(error.message));
      page.on('request', (request) => {
        if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) faults.push(request.url());
      });
      await page.goto(url + query);
      await page.waitForSelector('[data-ready=true]');
      return { page, faults };
    }

    async function writeTwice(page: Page): Promise<void> {
      await page.getByLabel('Tokens', { exact: true }).first().fill(String(count));
      await page.getByRole('button', { name: 'Write', exact: true }).last().click();
      await page.getByText(/^The same text, token for token/).waitFor();
    }

    const textOf = (page: Page, side: string): Promise<string | null> =>
      page.locator(`[data-side=${side}] [data-written]`).textContent();

    async function expectAccessible(page: Page): Promise<void> {
      await page.evaluate(axeCore.source);
      for (const colorScheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
        expect(found, colorScheme).toEqual([]);
      }
    }

    it('writes what Node writes, with speculation too, in threads of an isolated page', async () => {
      await using site = await servePlayground(folder);
      const { page, faults } = await openPlayground(site.url, '?threads=2');
      expect(await page.locator('.model').textContent()).toMatch(/5 layers.*WebAssembly in this tab, 2 threads\.$/);

      await writeTwice(page);
      expect(await textOf(page, 'plain')).toBe(written);
      expect(await textOf(page, 'speculative')).toBe(written);
      expect(await page.locator('.token-tree').count()).toBeGreaterThan(0);
      await expectAccessible(page);
      if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'write.png'), fullPage: true });
      expect(faults).toEqual([]);
      await page.close();
    });

    it('shows what a text takes, forks and saves it, and opens it again', async () => {
      await using site = await servePlayground(folder, { isolated: false });
      const { page, faults } = await openPlayground(site.url);
      expect(await page.locator('.model').textContent()).toMatch(
        /one thread, since the page is not cross-origin isolated/,
      );
      await page.getByRole('button', { name: 'Memory' }).click();
      const panel = page.getByRole('form', { name: 'How the text grows' });
      await panel.getByLabel('Text', { exact: true }).fill(prompt);
      await panel.getByLabel('Tokens', { exact: true }).fill(String(count));
      await panel.getByLabel('Temperature').fill('0');
      await panel.getByRole('button', { name: 'Write' }).click();
      const first = page.getByRole('region', { name: 'Text 1', exact: true });
      await first.getByRole('button', { name: 'Save' }).and(page.locator(':enabled')).waitFor();
      const download = page.waitForEvent('download');
      await first.getByRole('button', { name: 'Save' }).click();
      const path = await (await download).path();
      expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ tokens });

      await first.getByRole('button', { name: 'Fork' }).click();
      const second = page.getByRole('region', { name: 'Text 2', exact: true });
      await second.waitFor();
      const chooser = page.waitForEvent('filechooser');
      await panel.getByRole('button', { name: 'Open' }).click();
      await (await chooser).setFiles(path);
      const third = page.getByRole('region', { name: 'Text 3', exact: true });
      await third.waitFor();
      // All three go on alike: the state made anew from the file is the one that was forked.
      const tails: (string | null)[] = [];
      for (const text of [third, second, first]) {
        await text.getByRole('button', { name: 'Show' }).click();
        await panel.getByLabel('Text to add').fill(' and');
        await panel.getByRole('button', { name: 'Go on' }).click();
        await text.getByText(/^(9|10)\d tokens/).waitFor();
        await text.getByRole('button', { name: 'Save' }).and(page.locator(':enabled')).waitFor();
        tails.push(await text.locator('.tail').textContent());
      }
      expect(tails[0]).toContain(written);
      expect(new Set(tails).size).toBe(1);
      await expectAccessible(page);
      if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'memory.png'), fullPage: true });
      expect(faults).toEqual([]);
      await page.close();
    });

    it('opens a folder that is dropped on it or chosen, and says what is wrong with one', async () => {
      await using site = await servePlayground(folder);
      const { page } = await openPlayground(site.url);
      const renamed = join(folder, '..', 'of-my-own');
      await cp(join(folder, 'model'), renamed, { recursive: true });
      const devtools = await page.context().newCDPSession(page);
      const data = { items: [], files: [renamed], dragOperationsMask: 1 };
      for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
        await devtools.send('Input.dispatchDragEvent', { type, x: 300, y: 400, data });
      }
      await page.getByText(/^of-my-own: llama/).waitFor();
      await writeTwice(page);
      expect(await textOf(page, 'plain')).toBe(written);

      const choose = async (path: string): Promise<void> => {
        await page.getByRole('button', { name: 'Open a model' }).click();
        const chooser = page.waitForEvent('filechooser');
        await page.getByRole('button', { name: 'Choose a folder' }).click();
        await (await chooser).setFiles(path);
      };
      await rm(join(renamed, 'model.onnx.data'));
      await choose(renamed);
      await page
        .getByRole('alert')
        .getByText(/model\.onnx\.data/)
        .waitFor();
      // The model before is still there.
      await page.waitForSelector('[data-ready=true]');
      await choose(join(folder, 'model'));
      await page.getByText(/^model: llama/).waitFor();
      expect(await page.getByRole('alert').count()).toBe(0);
      await page.close();
    });
  },
);
