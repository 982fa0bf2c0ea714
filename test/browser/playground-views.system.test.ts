/** The views of attention and of the mask in Chromium, in a page without cross-origin isolation: they show what Node computes. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPlayground, type PlaygroundSite, servePlayground } from '../../scripts/playground-site.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { attentionMaps, type LayerMaps } from '../../src/models/graphs/attention-maps.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { compile } from '../../src/runtime/compile.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { suiteFolder } from '../scratch-folder.ts';
import type { ModelWithWeights } from '../export/exported-model.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessibleInBothSchemes, expectFitsPhone, openQuietPage } from './quiet-page.ts';

const source = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));
const text = 'The state of the union is strong, because the people of this union are strong.';

describe.skipIf(noChromium !== undefined)(
  `views of the playground${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    let browser: Browser;
    let subject: ModelWithWeights;
    let site: PlaygroundSite;

    beforeAll(async () => {
      const folder = join(suiteFolder(), 'playground');
      subject = await buildPlayground(folder);
      site = await servePlayground(folder, { isolated: false });
      browser = await launchChromium();
    }, 200_000);

    afterAll(async () => {
      await browser.close();
      await site[Symbol.asyncDispose]();
    });

    /** Opens the page at a view of it. */
    async function openView(name: string) {
      const opened = await openQuietPage(browser, site.url, { first: recordMaps });
      await opened.page.waitForSelector('[data-ready=true]');
      await opened.page.getByRole('button', { name, exact: true }).click();
      return opened;
    }

    it('shows the attention maps that Node computes, by token, layer and head', async () => {
      await using opened = await openView('Attention');
      const { page, faults } = opened;
      const form = page.getByRole('form', { name: 'Text and mixer' });
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
      const drawn = await mapsOfTab(page);
      for (const [side, maps] of Object.entries({ linear: expected, softmax })) {
        maps.layers.forEach(({ branches }, layer) => {
          for (const [branch, weights] of Object.entries(branches)) {
            expect(distance(drawn[side][layer][branch], weights), `${side} ${layer} ${branch}`).toBeLessThan(1e-5);
          }
        });
      }
      await page.getByLabel('Mixer', { exact: true }).selectOption('own');
      await form.getByRole('button', { name: 'Look' }).click();
      const own = await attentionMaps(subject.model, subject.parameters, tokens, { compile });
      await expect.poll(status).toBe(readBy(own.layers[3], 2, last, tokens.length, 'layer 4, head 3'));
      await expectAccessibleInBothSchemes(page);
      await expectFitsPhone(page, 'attention');
      expect(faults).toEqual([]);
    }, 240_000);

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
      await expectAccessibleInBothSchemes(page);
      await expectFitsPhone(page, 'mask');
      await mask.check();
      expect(await movement(/^Masked/)).toBe(0);
      await page.getByText(/is exactly 0\.$/).waitFor();
      expect(faults).toEqual([]);
    });

    describe('explains', () => {
      const open = (name: string) =>
        openQuietPage(browser, `${site.url}explained/${name}.html`, { host: `${site.url}explained/` });
      const numberOf = async (page: Page, name: string): Promise<number> =>
        Number(await page.locator(`[data-${name}]`).getAttribute(`data-${name}`));

      it('how a group works: sums and rows give the same for any G', async () => {
        await using opened = await open('group');
        const { page, faults } = opened;
        await page.getByText('Position 15 is in group 2: it reads 4 of 6 positions').waitFor();
        expect(await numberOf(page, 'difference')).toBeLessThan(1e-13);
        await page.getByRole('listbox').press('Home');
        await page.getByLabel('Positions per group, G').fill('1');
        await page.getByText('Position 0 is in group 0: it reads 1 of 1 positions').waitFor();
        expect(await numberOf(page, 'difference')).toBeLessThan(1e-13);
        await page.getByLabel('Positions per group, G').fill('6');
        await page.getByRole('listbox').press('End');
        await expectAccessibleInBothSchemes(page);
        await expectFitsPhone(page, 'explained-group');
        expect(faults).toEqual([]);
      });

      it("why a tree over a group's edge is exact, and that other rules are not", async () => {
        await using opened = await open('tree');
        const { page, faults } = opened;
        await page.getByText('Node c is at position 8, in group 2, beyond the edge').waitFor();
        const seen = page.getByRole('region', { name: 'What node c sees' }).getByRole('row');
        const rows = (await seen.allTextContents()).slice(1);
        // As in the table of docs/reference/three-forms.md: name, position, group, how, lag.
        expect(rows).toEqual([
          ...['000global, in S–', '110global, in S–', '220global, in S–', '330global, in S–'],
          ...[
            '441global, as a row–',
            '551global, as a row–',
            'a61global, as a row2',
            'b71global, as a row1',
            'c82local0',
          ],
          ...['d71––', 'e82––'],
        ]);
        expect(await numberOf(page, 'difference')).toBeLessThan(1e-13);
        for (const rule of ['forgetful', 'flat']) {
          await page.getByLabel('Rule').selectOption(rule);
          await expect.poll(() => numberOf(page, 'difference')).toBeGreaterThan(0.01);
        }
        await page.getByLabel('Rule').selectOption('exact');
        await expectAccessibleInBothSchemes(page);
        await expectFitsPhone(page, 'explained-tree');
        expect(faults).toEqual([]);
      });

      it('what the convolution adds, and what it hands over without its mask', async () => {
        await using opened = await open('convolution');
        const { page, faults } = opened;
        await page.getByText('reads positions 8 to 12, 4 of them beyond the edge of its group.').waitFor();
        expect(await numberOf(page, 'leak')).toBe(0);
        await page.getByLabel('Mask the future').uncheck();
        await page.getByText('and 4 of the future.').waitFor();
        expect(await numberOf(page, 'leak')).toBeGreaterThan(0.1);
        await expectAccessibleInBothSchemes(page);
        await expectFitsPhone(page, 'explained-convolution');
        await page.getByRole('link', { name: 'How a group works' }).click();
        await page.getByText('Position 15 is in group 2').waitFor();
        expect(faults).toEqual([]);
      });
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
  return `Position ${t} in ${where}: ${shares.join(', ')} of its reads.`;
}

/** Run in the page before its scripts: keeps the last maps that a worker answered with. */
const recordMaps = `
  const keep = (port) =>
    port.addEventListener('message', ({ data }) => (globalThis.looked = data.answers?.look ?? globalThis.looked));
  globalThis.Worker = class extends Worker {
    constructor(...given) {
      super(...given);
      keep(this);
    }
  };
  globalThis.SharedWorker = class extends SharedWorker {
    constructor(...given) {
      super(...given);
      keep(this.port);
    }
  };
`;

/** What the view draws: arrays by side, layer and branch. */
function mapsOfTab(page: Page): Promise<Record<string, Record<string, number[]>[]>> {
  return page.evaluate(`{
    const plain = (layers) => layers.map(({ branches }) =>
      Object.fromEntries(Object.entries(branches).map(([name, weights]) => [name, [...weights]])));
    ({ linear: plain(looked.linear), softmax: plain(looked.softmax) });
  }`);
}

/** The largest difference. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let at = 0; at < a.length; at++) most = Math.max(most, Math.abs(a[at] - b[at]));
  return most;
}
