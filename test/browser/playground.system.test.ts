/** The playground in Chromium: writes what Node writes, with and without threads, and is readable for everybody. */
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPlayground, servePlayground } from '../../scripts/playground-site.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { openSafetensors } from '../../src/checkpoint/safetensors/reader.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { finetune } from '../../src/training/plans/finetune.ts';
import type { ModelWithWeights } from '../export/exported-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { browserBytes, launchChromium, noChromium } from './chromium.ts';
import { longestTask, openPlayground } from './playground-page.ts';
import { expectAccessibleInBothSchemes, takePicture } from './quiet-page.ts';
import { serveSite } from './site.ts';

const prompt = 'The state of the union';
const count = 48;

describe.skipIf(noChromium !== undefined)(
  `the playground${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = join(suiteFolder(), 'playground');
    let browser: Browser;
    /** What Node writes: the text, and its tokens with those of the prompt. */
    let subject: ModelWithWeights;
    let written: string;
    let tokens: readonly number[];

    beforeAll(async () => {
      subject = await buildPlayground(folder);
      const tokenizer = await loadTokenizer(join(folder, 'model'));
      await using engine = await DecodingEngine.create(subject.model, subject.parameters);
      const promptTokens = tokenizer.encode(prompt, { bos: true });
      const generated = await generateToEnd(engine, { promptTokens, maxTokens: count, ignoreEos: true });
      written = tokenizer.decode([...promptTokens, ...generated.tokens]).slice(prompt.length);
      tokens = [...promptTokens, ...generated.tokens];
      browser = await launchChromium();
    }, 200_000);

    afterAll(() => browser.close());

    async function writeTwice(page: Page, tokens = count, temperature = 0): Promise<void> {
      await page.getByLabel('Temperature').first().fill(String(temperature));
      await page.getByLabel('Most tokens').fill(String(tokens));
      await page.getByRole('button', { name: 'Write', exact: true }).last().click();
      await page.getByText(/^The same text, token for token/).waitFor();
    }

    const textOf = (page: Page, side: string): Promise<string | null> =>
      page.locator(`[data-side=${side}] [data-written]`).textContent();

    it('writes what Node writes, with speculation too, in threads of an isolated page', async () => {
      await using site = await servePlayground(folder);
      // The paper's mixer writes no text before it is trained.
      expect(new Set(subject.model.mixers.map(({ kind }) => kind))).toEqual(new Set(['window']));
      const { page, faults } = await openPlayground(browser, site.url, '?threads=2');
      expect(await page.locator('.model').textContent()).toMatch(/5 layers.*WebAssembly in this tab, 2 threads\.$/);

      // What a visitor reads first does not go round in circles.
      const temperature = Number(await page.getByLabel('Temperature').first().inputValue());
      await writeTwice(page, 120, temperature);
      const words = ((await textOf(page, 'plain')) ?? '').split(/\W+/);
      expect(new Set(words).size).toBeGreaterThan(0.5 * words.length);

      const longest = await longestTask(page, () => writeTwice(page));
      console.info(`longest task of the page while the model wrote: ${longest.toFixed(0)} ms`);
      // 50 ms on a machine with nothing else to do.
      expect(longest).toBeLessThan(1000);
      expect(await textOf(page, 'plain')).toBe(written);
      expect(await textOf(page, 'speculative')).toBe(written);
      expect(await page.locator('.token-tree').count()).toBeGreaterThan(0);
      // Every guess says where it comes from.
      const guesses = page.locator('.token-tree .node:not(.next)').filter({ has: page.locator('title') });
      const sources = new Set(await guesses.locator('title').allTextContents());
      expect(sources).toContain('tokens the model considered before');
      for (const source of sources) await page.locator('.swatches').getByText(source, { exact: true }).waitFor();
      const trees = await page.locator('.token-tree').count();
      expect(await guesses.count()).toBe((await page.locator('.token-tree .node:not(.next)').count()) - trees);
      await expectAccessibleInBothSchemes(page);
      await takePicture(page, 'write');

      // A second visit: the weights have been kept, for the GPU's model too, and the first token comes soon.
      const requests: string[] = [];
      page.on('request', (request) => requests.push(new URL(request.url()).pathname));
      const started = performance.now();
      await page.reload();
      await page.getByRole('form', { name: 'Text and settings' }).getByRole('button', { name: 'Write' }).click();
      await page.locator('[data-side=plain] [data-written]').filter({ hasText: /./ }).waitFor();
      console.info(`first token ${((performance.now() - started) / 1000).toFixed(2)} s after a warm start`);
      expect(requests).toContain('/model/linnet.json');
      expect(requests).not.toContain('/model/model.onnx.data');
      await page.getByRole('button', { name: 'Stop' }).first().click();
      await page.getByRole('button', { name: 'Open a model' }).and(page.locator(':enabled')).click();
      await page.getByText(/^Downloads kept in this browser: 4\.\d+ MiB\.$/).waitFor();
      await page.getByRole('button', { name: 'Forget them' }).click();
      await page.getByText('Downloads kept in this browser: 0 B.').waitFor();
      expect(faults).toEqual([]);
      await page.close();
    });

    it('writes the same on WebGPU, which the reader can choose where there is one', async ({ skip }) => {
      await using site = await servePlayground(folder);
      const gpu = await launchChromium({ gpu: true });
      try {
        const { page, faults } = await openPlayground(gpu, site.url, '?device=webgpu', false);
        if ((await page.evaluate('navigator.gpu?.requestAdapter().then((found) => found !== null)')) !== true) {
          skip('this Chromium has no WebGPU adapter');
        }
        await page
          .getByText(
            /^model-webgpu: llama.*WebGPU in this tab, imitated by the processor: WebAssembly is faster here\.$/,
          )
          .waitFor();
        expect(await page.getByLabel('Computes with').inputValue()).toBe('webgpu');
        await writeTwice(page, 4);
        for (const side of ['plain', 'speculative']) {
          const text = await textOf(page, side);
          expect(text?.length).toBeGreaterThan(4);
          expect(written.slice(0, text?.length)).toBe(text);
        }
        expect(faults).toEqual([]);
      } finally {
        await gpu.close();
      }
    });

    it('shares one engine between two tabs, and keeps it when the first is closed', async () => {
      await using site = await serveSite({ folders: { '': folder }, isolated: false });
      const context = await browser.newContext();
      context.setDefaultTimeout(100_000);
      const pages: Page[] = [];
      const visit = async (): Promise<Page> => {
        const page = await context.newPage();
        pages.push(page);
        await page.goto(`${site.url}index.html`);
        await page.waitForSelector('[data-ready=true]');
        return page;
      };
      const first = await visit();
      const memory = await browserBytes(browser);
      const model = /^\/model|\.wasm$/;
      const before = site.requests.length;
      expect(site.requests.filter((path) => model.test(path)).length).toBeGreaterThan(2);
      const second = await visit();
      expect(site.requests.slice(before).filter((path) => model.test(path))).toEqual([]);
      const taken = async (): Promise<number> => ((await browserBytes(browser)) - memory) / 1e6;
      console.log(`the second tab takes ${(await taken()).toFixed(1)} MB`);
      // Until garbage has been collected it can be more.
      await expect.poll(taken, { timeout: 20_000 }).toBeLessThan(40);
      await Promise.all(pages.map((page) => writeTwice(page)));
      for (const page of pages) await expect.poll(() => textOf(page, 'plain')).toBe(written);
      await first.close();
      await writeTwice(second);
      await expect.poll(() => textOf(second, 'speculative')).toBe(written);
      await context.close();
    });

    it('shows what a text takes, forks and saves it, and opens it again', async () => {
      await using site = await servePlayground(folder, { isolated: false });
      const { page, faults } = await openPlayground(browser, site.url);
      expect(await page.locator('.model').textContent()).toMatch(
        /one thread, because the page is not cross-origin isolated/,
      );
      await page.getByRole('button', { name: 'Memory' }).click();
      const panel = page.getByRole('form', { name: 'Text and settings' });
      await panel.getByLabel('Text', { exact: true }).fill(prompt);
      await panel.getByLabel('Tokens', { exact: true }).fill(String(count));
      await panel.getByLabel('Temperature').fill('0');
      await panel.getByRole('button', { name: 'Write' }).click();
      const first = page.getByRole('region', { name: 'Text 1', exact: true });
      await first.getByRole('button', { name: 'Save' }).and(page.locator(':enabled')).waitFor();
      await first.getByRole('button', { name: 'Save' }).click();
      const kept = page.getByRole('region', { name: 'Kept texts' });
      const download = page.waitForEvent('download');
      await kept.getByRole('button', { name: /^Download / }).click();
      const path = join(folder, 'kept.session');
      await (await download).saveAs(path);
      const stored = await openSafetensors(path);
      expect(Array.from((await stored.read('tokens')).data, Number)).toEqual(tokens);
      await stored.close();

      await first.getByRole('button', { name: 'Fork' }).click();
      const second = page.getByRole('region', { name: 'Text 2', exact: true });
      await second.waitFor();
      const chooser = page.waitForEvent('filechooser');
      await panel.getByRole('button', { name: 'Open' }).click();
      await (await chooser).setFiles(path);
      const third = page.getByRole('region', { name: 'Text 3', exact: true });
      await third.waitFor();
      // All three go on alike: the state of the file is the one that was forked.
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
      await expectAccessibleInBothSchemes(page);
      // The chart has the colours of the page: those of the series and of the axes differ.
      const strokes = await page.evaluate(
        `[...new Set([...document.querySelectorAll('.line-chart path')].map((path) => getComputedStyle(path).stroke))]`,
      );
      expect(strokes).toEqual(expect.arrayContaining(['rgb(0, 114, 178)', 'rgb(213, 94, 0)', 'rgb(223, 227, 234)']));
      await takePicture(page, 'memory');
      // A file that is no session is refused, and a kept text of its name stays; one that is saved again is kept too.
      await writeFile(path, 'no session');
      const wrong = page.waitForEvent('filechooser');
      await panel.getByRole('button', { name: 'Open' }).click();
      await (await wrong).setFiles(path);
      await page.getByRole('alert').waitFor();
      for (const count of [3, 4]) {
        await first.getByRole('button', { name: 'Save' }).and(page.locator(':enabled')).click();
        await expect.poll(() => kept.getByRole('listitem').count()).toBe(count);
      }
      // A text that was kept goes on after a reload.
      await page.reload();
      await page.getByRole('button', { name: 'Memory' }).click();
      await page.getByRole('button', { name: 'Open kept', exact: true }).and(page.locator(':enabled')).click();
      await first.waitFor();
      expect(await first.locator('.tail').textContent()).toContain(written);
      await kept.getByRole('button', { name: 'Delete kept', exact: true }).click();
      await expect.poll(() => kept.getByRole('listitem').count()).toBe(3);
      expect(faults).toEqual([]);
      await page.close();
    });

    it('trains to the weights that Node trains to, and writes with them', async () => {
      const words = 'The linnet sings in the hedge, and the hedge stands at the end of the field. '.repeat(12);
      const start = join(folder, '..', 'linearized');
      const data = join(folder, '..', 'words.txt');
      const out = join(folder, '..', 'tuned');
      await saveModel(start, subject, { tokenizerFiles: { from: join(folder, 'model') } });
      await writeFile(data, words);
      // The smaller the gradient of a weight, the more of AdamW's step is how an engine rounds: at 1e-3, 3e-5 of 5e-3.
      await finetune(start, { data: [data], out, steps: 5, batch: 2, length: 32, learningRate: 1e-4 });

      await using site = await servePlayground(folder);
      const { page, faults } = await openPlayground(browser, site.url, '?threads=1');
      await page.getByRole('button', { name: 'Train', exact: true }).click();
      const panel = page.getByRole('form', { name: 'Training settings' });
      await panel.getByLabel('Text to train on').fill(words);
      await panel.getByLabel('Prompt').fill(prompt);
      const fields = { Steps: 5, Rows: 2, Length: 32, Tokens: 12 };
      for (const [label, value] of Object.entries(fields)) {
        await panel.getByLabel(label, { exact: true }).fill(String(value));
      }
      await panel.getByLabel('Learning rate').selectOption('0.0001');
      const longest = await longestTask(page, async () => {
        await panel.getByRole('button', { name: 'Train' }).click();
        await page.locator('[data-side=after] [data-written]').waitFor();
      });
      console.info(`longest task of the page while the model was trained: ${longest.toFixed(0)} ms`);
      expect(longest).toBeLessThan(1000);
      expect(await page.getByText(/^Trained: step 5 of 5 on/).count()).toBe(1);
      expect(await textOf(page, 'before')).toBe(written.slice(0, (await textOf(page, 'before'))?.length));

      const download = page.waitForEvent('download');
      await page.getByRole('button', { name: 'Download the weights' }).and(page.locator(':enabled')).click();
      const found = await openSafetensors(await (await download).path());
      const expected = await openSafetensors(join(out, 'model.safetensors'));
      expect(found.names().sort()).toEqual(expected.names().sort());
      let difference = 0;
      let learnt = 0;
      const parameters = new Map<string, Tensor<'float32'>>();
      for (const name of expected.names()) {
        const [ours, theirs] = [await found.readFloat32(name), await expected.readFloat32(name)];
        expect(ours.shape, name).toEqual(theirs.shape);
        const before = subject.parameters.get(name);
        theirs.data.forEach((value, at) => {
          difference = Math.max(difference, Math.abs(value - ours.data[at]));
          learnt = Math.max(learnt, Math.abs(value - (before?.data[at] ?? Number.NaN)));
        });
        parameters.set(name, ours);
      }
      await Promise.all([found.close(), expected.close()]);
      console.info(`weights after 5 steps: ${difference.toExponential(1)} from those of Node at most`);
      expect(difference).toBeLessThan(1e-5);
      expect(learnt).toBeGreaterThan(1e-4);
      const tokenizer = await loadTokenizer(join(folder, 'model'));
      await using engine = await DecodingEngine.create(subject.model, parameters);
      const promptTokens = tokenizer.encode(prompt, { bos: true });
      const generated = await generateToEnd(engine, { promptTokens, tokenizer, maxTokens: 12, ignoreEos: true });
      expect(await textOf(page, 'after')).toBe(generated.text);
      await expectAccessibleInBothSchemes(page);
      await takePicture(page, 'train');

      // A long training ends when it is told to, with what it has learnt by then.
      await panel.getByLabel('Steps').fill('1000');
      await panel.getByRole('button', { name: 'Train' }).and(page.locator(':enabled')).click();
      await page.getByText(/^Training: step \d+ of 1,000/).waitFor();
      await panel.getByRole('button', { name: 'Stop' }).click();
      await page.getByText(/^Stopped: step \d+ of 1,000/).waitFor();
      await page.locator('[data-side=after] [data-written]').waitFor();
      expect(faults).toEqual([]);
      await page.close();
    });

    it('opens a folder that is dropped on it or chosen, and says what is wrong with one', async () => {
      await using site = await servePlayground(folder);
      const { page } = await openPlayground(browser, site.url);
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
