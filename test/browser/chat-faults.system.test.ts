/**
 * The chat page where things go wrong, or ask for room: hostile answers, two tabs, a key, a server that goes, answers that are
 * left, thoughts, narrow columns. Screenshots are left in LINNET_SCREENSHOTS, where that is set.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessible, takePicture, watchFaults } from './quiet-page.ts';
import { sendPieces, startStubServer, type StubServer } from './stub-server.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe.skipIf(noChromium !== undefined)(
  `faults around the chat page${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const out = join(suiteFolder(), 'page');
    let browser: Browser;
    let server: StubServer;
    let context: BrowserContext;
    let faults: string[];

    beforeAll(async () => {
      await promisify(execFile)(process.execPath, ['scripts/build-web.mjs', 'chat', out], { cwd: root });
      browser = await launchChromium();
    }, 120_000);

    afterAll(() => browser.close());

    beforeEach(async () => {
      server = await startStubServer(out);
      context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
      faults = [];
      onTestFinished(async () => {
        await context.close();
        await server[Symbol.asyncDispose]();
      });
    });

    async function openTab(): Promise<Page> {
      const tab = await context.newPage();
      tab.setDefaultTimeout(20_000);
      faults = watchFaults(tab, server.url);
      await tab.goto(server.url);
      return tab;
    }

    const shot = (tab: Page, name: string): Promise<void> => takePicture(tab, name, { fullPage: false });
    const press = (tab: Page, name: string): Promise<void> =>
      tab.getByRole('button', { name, exact: true }).last().click();

    async function send(tab: Page, text: string): Promise<void> {
      await tab.getByRole('textbox', { name: 'Message' }).last().fill(text);
      await tab.keyboard.press('Enter');
    }

    /** Sends a text and waits for the whole answer. */
    async function say(tab: Page, text: string): Promise<void> {
      const answers = tab.getByRole('button', { name: 'Again', exact: true });
      const before = await answers.count();
      await send(tab, text);
      await expect.poll(() => answers.count(), { timeout: 20_000 }).toBe(before + 1);
    }

    const nested = Array.from({ length: 3000 }, (_, level) => `${' '.repeat(2 * level)}- item\n`).join('');
    it.each([
      ['emphases without end', '*a_'.repeat(20_000)],
      ['a list nested 3,000 deep', nested.slice(0, 300_000)],
      ['quotations in quotations', '>'.repeat(20_000)],
    ])('shows %s as they are, at once, and again after a reload', async (_, text) => {
      server.answer = (response) => sendPieces(response, [{ content: text }]);
      const tab = await openTab();
      await say(tab, 'Write Markdown.');
      const shown = tab.locator('.markdown .plain');
      for (const turn of ['first', 'again']) {
        await shown.waitFor();
        expect(await shown.textContent(), turn).toBe(text);
        const started = performance.now();
        await tab.evaluate('new Promise(requestAnimationFrame)');
        expect(performance.now() - started, turn).toBeLessThan(2000);
        await tab.reload();
      }
      expect(faults).toEqual([]);
    });

    it('loses no turn between two tabs, and shows each the turns of the other', async () => {
      const first = await openTab();
      await say(first, 'Who sings?');
      const second = await openTab();
      await second.getByText('A linnet.', { exact: true }).waitFor();
      await say(second, 'From the second tab.');
      await first.getByText('From the second tab.', { exact: true }).waitFor();
      // Both at once, from the same place.
      await Promise.all([send(first, 'From the first.'), send(second, 'From the second again.')]);
      for (const tab of [first, second]) {
        const turns = tab.getByRole('group', { name: /^Branches/ }).getByRole('button', { name: /^Turn/ });
        const all = async (): Promise<number> =>
          (await turns.count()) - (await turns.filter({ hasText: 'empty' }).count());
        await expect.poll(all).toBe(8);
        await tab.reload();
        await expect.poll(all).toBe(8);
      }
      await press(second, 'Conversations');
      await press(second, 'Delete Who sings?');
      await expect.poll(() => first.getByRole('article').count()).toBe(0);
      expect(faults).toEqual([]);
    });

    it('asks for a key by keyboard alone, says that one is wrong, and stays a page when nobody gives one', async () => {
      server.key = 'sesame';
      const tab = await openTab();
      const dialog = tab.getByRole('dialog');
      const focused = tab.locator('input[type=password]:focus');
      await focused.waitFor();
      await shot(tab, 'key');
      await tab.keyboard.type('open');
      await tab.keyboard.press('Enter');
      await tab.getByRole('alert').getByText('rejects this key').waitFor();
      await shot(tab, 'key-refused');
      await expectAccessible(tab, 'key');
      await tab.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
      await tab.getByText('The server requires an API key.').waitFor();
      await shot(tab, 'key-none');
      await expectAccessible(tab, 'no key');
      await press(tab, 'Enter the key');
      await focused.waitFor();
      await tab.keyboard.type('sesame');
      await tab.keyboard.press('Enter');
      await say(tab, 'Who sings?');
      // The key changes while the page is open.
      server.key = 'changed';
      await send(tab, 'And who listens?');
      await tab.getByRole('textbox', { name: 'Key' }).fill('changed');
      await tab.keyboard.press('Enter');
      await dialog.waitFor({ state: 'detached' });
      await say(tab, 'And now?');
      expect(faults.filter((fault) => !fault.includes('401'))).toEqual([]);
    });

    it('says what to do when the server goes, and tries again', async () => {
      const tab = await openTab();
      server.answer = (response) => {
        sendPieces(response, [{ content: 'A lin' }], { ends: false });
        setTimeout(() => response.destroy(), 200);
      };
      await send(tab, 'Who sings?');
      await tab.getByRole('alert').getByText('The connection to the server ended').waitFor();
      await tab.getByText('A lin', { exact: true }).waitFor();
      await context.route('**/{props,v1/**}', (route) => route.abort());
      await send(tab, 'Who else?');
      await tab.getByRole('alert').getByText('The server does not answer.').waitFor();
      await tab.reload();
      await tab.getByText('The server does not answer.').waitFor();
      await shot(tab, 'no-server');
      await context.unroute('**/{props,v1/**}');
      await press(tab, 'Try again');
      await expect.poll(() => tab.getByText('A lin', { exact: true }).count()).toBe(1);
    });

    it.each(['alone', 'beside a fork'])('keeps what has come of an answer %s when the page is left', async (place) => {
      const tab = await openTab();
      if (place !== 'alone') {
        await say(tab, 'Who sings?');
        await press(tab, 'Fork beside');
      }
      server.answer = (response) => sendPieces(response, [{ content: 'Once upon' }], { ends: false });
      await send(tab, 'Tell me.');
      await tab.getByText('Once upon', { exact: true }).waitFor();
      await tab.reload();
      await tab.getByText('Once upon', { exact: true }).waitFor();
      await tab.getByText(/^Cut off: /).waitFor();
      await shot(tab, 'left');
      await expectAccessible(tab, 'left');
      server.answer = (response) => sendPieces(response, [{ content: 'Once upon a time.' }]);
      await press(tab, 'Again');
      await tab.getByText('Once upon a time.', { exact: true }).waitFor();
      await expect.poll(() => tab.getByText(/^Cut off: /).count()).toBe(0);
      // A page that is shown again, as browsers do on the way back, keeps on.
      await tab.evaluate("dispatchEvent(new Event('pagehide')), dispatchEvent(new Event('pageshow'))");
      await say(tab, 'And then?');
      await tab.reload();
      await tab.getByText('And then?', { exact: true }).waitFor();
      expect(faults).toEqual([]);
    });

    it('folds thoughts, says how long they are, and sends them back', async () => {
      const deltas = [
        ...[{ reasoning_content: 'Which birds sing? ' }, { reasoning_content: 'A linnet does.' }],
        ...[{ content: 'A **linnet**' }, { content: '.' }],
      ];
      server.answer = (response) => sendPieces(response, deltas);
      const tab = await openTab();
      await say(tab, 'Who sings?');
      const thoughts = tab.locator('details.thoughts');
      expect(await thoughts.locator('summary').innerText()).toBe('Thoughts · 6 words');
      expect(await tab.getByText('Which birds sing?').isVisible()).toBe(false);
      await expect.poll(() => tab.locator('.markdown').innerText()).toBe('A linnet.');
      await shot(tab, 'thoughts-folded');
      await thoughts.locator('summary').focus();
      await tab.keyboard.press('Enter');
      await tab.getByText('Which birds sing? A linnet does.', { exact: true }).waitFor();
      for (const [width, colorScheme] of [
        [1280, 'light'],
        [390, 'dark'],
      ] as const) {
        await tab.setViewportSize({ width, height: 800 });
        await tab.emulateMedia({ colorScheme });
        await shot(tab, `thoughts-${colorScheme}-${width}`);
        await expectAccessible(tab, `thoughts, ${width}`);
      }
      await tab.reload();
      await tab.locator('.markdown').waitFor();
      await say(tab, 'And who else?');
      expect(server.chats.at(-1)).toMatchObject({
        messages: [
          { role: 'user', content: 'Who sings?' },
          { role: 'assistant', content: 'A **linnet**.', reasoning_content: 'Which birds sing? A linnet does.' },
          { role: 'user', content: 'And who else?' },
        ],
      });
      expect(server.chats[0]).toEqual(expect.objectContaining({ messages: [{ role: 'user', content: 'Who sings?' }] }));
      server.answer = (response) => sendPieces(response, deltas.slice(0, 2), { ends: false });
      await send(tab, 'And then?');
      await tab.getByText('Thinking').waitFor();
      await shot(tab, 'thinking');
      await press(tab, 'Stop');
      expect(faults).toEqual([]);
    });

    it('shows the end of a text, also after a reload, and on a phone the fork that is added', async () => {
      const items = Array.from({ length: 60 }, (_, at) => `- bird ${at + 1}`).join('\n');
      server.answer = (response) => sendPieces(response, [{ content: items }]);
      const tab = await openTab();
      await tab.setViewportSize({ width: 390, height: 800 });
      await say(tab, 'Which birds sing?');
      const bottom = async (column: number): Promise<number> =>
        (await tab.getByText('bird 60', { exact: true }).nth(column).boundingBox())?.y ?? Infinity;
      await expect.poll(() => bottom(0)).toBeLessThan(700);
      await press(tab, 'Fork beside');
      const fork = tab.getByRole('region', { name: 'Session 2' });
      const left = async (): Promise<number> => (await fork.boundingBox())?.x ?? Infinity;
      await expect.poll(left).toBeLessThan(40);
      await shot(tab, 'fork-390');
      await tab.reload();
      await expect.poll(() => bottom(0)).toBeLessThan(700);
      await expect.poll(() => bottom(1)).toBeLessThan(700);
      await shot(tab, 'columns-390');
      expect(await left(), 'the edge of the second column').toBeLessThan(380);
      expect(faults).toEqual([]);
    });

    it('has room for texts beside a fork, and for all of the list of conversations', async () => {
      const tab = await openTab();
      expect(await tab.locator('.line-chart').count()).toBe(0);
      await shot(tab, 'fresh');
      await say(tab, 'Who sings there in the hedge behind the house on a spring morning, and what about?');
      for (const name of ['second', 'third']) {
        await press(tab, 'Fork beside');
        await say(tab, `In the ${name}.`);
      }
      const logs = tab.getByRole('log');
      for (const log of await logs.all()) expect((await log.boundingBox())?.height).toBeGreaterThan(400);
      await shot(tab, 'columns');
      for (const column of await tab.getByRole('region', { name: /^Session/ }).all()) {
        const [bounds, close] = [
          await column.boundingBox(),
          await column.getByRole('button', { name: /^Close/ }).boundingBox(),
        ];
        expect((close?.x ?? Infinity) + (close?.width ?? 0)).toBeLessThan((bounds?.x ?? 0) + (bounds?.width ?? 0));
      }
      const texts = async (): Promise<string[]> => (await logs.allInnerTexts()).map((text) => text.slice(-120));
      const before = await texts();
      await tab.reload();
      await logs.nth(2).waitFor();
      await expect.poll(texts).toEqual(before);

      await press(tab, 'Conversations');
      const dialog = tab.getByRole('dialog');
      const renames = dialog.getByRole('button', { name: /^Rename/ });
      await renames.nth(2).waitFor();
      const names = await renames.all();
      const titles = await Promise.all(names.map((name) => name.getAttribute('aria-label')));
      expect(new Set(titles.map((title) => title?.slice(0, 15))).size).toBe(3);
      for (const width of [1280, 390]) {
        await tab.setViewportSize({ width, height: 800 });
        for (const colorScheme of ['light', 'dark'] as const) {
          await tab.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          await shot(tab, `list-${colorScheme}-${width}`);
          await expectAccessible(tab, `${colorScheme}, ${width}`);
        }
        const bounds = await dialog.boundingBox();
        for (const part of await dialog.locator('button, input, time').all()) {
          const box = await part.boundingBox();
          expect(box?.x).toBeGreaterThanOrEqual(bounds?.x ?? Infinity);
          expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual((bounds?.x ?? 0) + (bounds?.width ?? 0));
        }
        expect(await dialog.evaluate('document.querySelector("dialog").scrollWidth')).toBeLessThanOrEqual(width);
      }
      await tab.keyboard.type('third');
      await expect.poll(() => dialog.getByRole('listitem').count()).toBe(1);
      expect(faults).toEqual([]);
    });
  },
);
