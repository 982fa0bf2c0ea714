/** The views of attention and of the mask in Chromium, in a page without cross-origin isolation: they show what Node computes. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPlayground, type PlaygroundSite, servePlayground } from '../../scripts/playground-site.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { attentionMaps, type LayerMaps } from '../../src/models/attention-maps.ts';
import { linearize } from '../../src/models/linearize.ts';
import { compile } from '../../src/runtime/compile.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessible, expectFitsPhone, openQuietPage } from './quiet-page.ts';

const source = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));
const text = 'The state of the union is strong, because the people of this union are strong.';

describe.skipIf(noChromium !== undefined)(
  `views of the playground${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    let browser: Browser;
    let site: PlaygroundSite;

    beforeAll(async () => {
      const folder = join(suiteFolder(), 'playground');
      await buildPlayground(folder);
      site = await servePlayground(folder, { isolated: false });
      browser = await launchChromium();
    }, 200_000);

    afterAll(async () => {
      await browser.close();
      await site[Symbol.asyncDispose]();
    });

    /** Opens the page at a view of it. */
    async function openView(name: string) {
      const opened = await openQuietPage(browser, site.url);
      await opened.page.waitForSelector('[data-ready=true]');
      await opened.page.getByRole('button', { name, exact: true }).click();
      return opened;
    }

    it('shows the attention maps that Node computes, by token, layer and head', async () => {
      await using opened = await openView('Attention');
      const { page, faults } = opened;
      const form = page.getByRole('form', { name: 'What is looked at' });
      await form.getByRole('button', { name: 'Look' }).click();
      const heads = page.getByRole('group', { name: 'Heads, linear' });
      await heads.waitFor();
      expect(await heads.getByRole('button').count()).toBe(5 * 4);

      const tokenizer = await loadTokenizer(source);
      const tokens = tokenizer.encode(text, { bos: true });
      const strip = page.getByRole('listbox', { name: 'Tokens of the text' });
      expect(await strip.getByRole('option').count()).toBe(tokens.length);
      const before = await loadCausalModel(source);
      const mixer = mixerPreset('window', { group: 4 });
      const after = linearize(before.model, before.parameters, mixer);
      const expected = await attentionMaps(after.model, after.parameters, tokens, { compile });
      const status = (): Promise<string | null> =>
        page.locator('.card .verdict[role=status]').locator('visible=true').textContent();
      const last = tokens.length - 1;
      expect(await status()).toBe(readBy(expected.layers[0], 0, last, tokens.length, 'layer 1, head 1'));

      // By keyboard: another token, another head.
      await strip.focus();
      for (let step = 0; step < 3; step++) await page.keyboard.press('ArrowLeft');
      await heads.getByRole('button', { name: 'Linear, layer 4, head 3' }).press('Enter');
      expect(await status()).toBe(readBy(expected.layers[3], 2, last - 3, tokens.length, 'layer 4, head 3'));

      const softmax = await attentionMaps(before.model, before.parameters, tokens, { compile });
      const request = { preset: 'window', group: 4, kernel: 9, masked: true, parameters: 'start' };
      const drawn = await mapsOfTab(page, { name: 'look', text, mixer: request });
      for (const [side, maps] of Object.entries({ linear: expected, softmax })) {
        maps.layers.forEach(({ branches }, layer) => {
          for (const [branch, weights] of Object.entries(branches)) {
            expect(distance(drawn[side][layer][branch], weights), `${side} ${layer} ${branch}`).toBeLessThan(1e-5);
          }
        });
      }
      await expectAccessible(page);
      await expectFitsPhone(page, 'attention');
      expect(faults).toEqual([]);
    });

    it('moves nothing before a replaced token with the mask, exactly, and much without it', async () => {
      await using opened = await openView('Mask');
      const { page, faults } = opened;
      await page.getByRole('button', { name: 'Replace every token' }).click();
      const movement = async (heading: RegExp): Promise<number> => {
        await page.getByRole('heading', { name: heading }).waitFor();
        return Number(await page.locator('[data-past]').getAttribute('data-past'));
      };
      expect(await movement(/^Masked/)).toBe(0);
      const mask = page.getByLabel('Mask the convolution');
      await mask.uncheck();
      expect(await movement(/^Unmasked/)).toBeGreaterThan(0.1);
      await page.getByText(/positions before it move, by up to/).waitFor();
      await expectAccessible(page);
      await expectFitsPhone(page, 'mask');
      await mask.check();
      expect(await movement(/^Masked/)).toBe(0);
      await page.getByText(/is exactly 0\.$/).waitFor();
      expect(faults).toEqual([]);
    });
  },
);

/** What the view says of a position: the shares of its branches, in their order. */
function readBy({ branches }: LayerMaps, head: number, t: number, length: number, where: string): string {
  const sizes = (['window', 'memory', 'sinks'] as const).map((branch) => {
    const start = (head * length + t) * length;
    const row = branches[branch]?.subarray(start, start + length) ?? new Float32Array(0);
    return { branch, size: row.reduce((sum, weight) => sum + Math.abs(weight), 0) };
  });
  const all = sizes.reduce((sum, { size }) => sum + size, 0);
  const shares = sizes.map(({ branch, size }) => `${branch} ${((100 * size) / all).toFixed(1)} %`);
  return `Position ${t} in ${where}: ${shares.join(', ')} of what it reads.`;
}

/** Asks a worker of the page's own for what the view draws: arrays by side, layer and branch. */
function mapsOfTab(page: Page, request: object): Promise<Record<string, Record<string, number[]>[]>> {
  const [worker] = page.workers();
  const script = `new Promise((resolve, reject) => {
    const worker = new Worker(${JSON.stringify(worker.url())}, { type: 'module' });
    worker.onmessage = ({ data }) => {
      worker.terminate();
      if (data.type !== 'answer') return reject(new Error(data.message));
      const plain = (layers) => layers.map(({ branches }) =>
        Object.fromEntries(Object.entries(branches).map(([name, weights]) => [name, [...weights]])));
      resolve({ linear: plain(data.answers.look.linear), softmax: plain(data.answers.look.softmax) });
    };
    worker.postMessage({ call: 1, request: ${JSON.stringify(request)} });
  })`;
  return page.evaluate(script);
}

/** The largest difference. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let at = 0; at < a.length; at++) most = Math.max(most, Math.abs(a[at] - b[at]));
  return most;
}
