/**
 * The chat page in a real browser, before a real server: it chats, forks, stops, saves and opens, asks nobody else for
 * anything, and has no fault that axe finds. Screenshots are left in LINNET_SCREENSHOTS, where that is set.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PageFiles, readPage } from '../../src/serving/http/page.ts';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { type RunningServer, startServer } from '../../src/serving/server.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, openTiny } from '../serving/served.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessible, openQuietPage, takePicture } from './quiet-page.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const log = pino({ level: 'silent' });

describe.skipIf(noChromium !== undefined)(
  `the chat page${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let browser: Browser;
    let page: PageFiles | undefined;
    let plain: LanguageModel;
    let chatting: LanguageModel;
    let server: RunningServer;
    let chatServer: RunningServer;

    beforeAll(async () => {
      const out = join(folder, 'page');
      await promisify(execFile)(process.execPath, ['scripts/build-web.mjs', 'chat', out], { cwd: root });
      page = await readPage({ folders: [out] });
      plain = await openTiny();
      chatting = await openTiny(chatTemplate);
      server = await startServer(plain, { http: { port: 0, log, page } });
      chatServer = await startServer(chatting, { http: { port: 0, log, page }, toolFormat: 'llama3' });
      browser = await launchChromium();
    }, 120_000);

    afterAll(async () => {
      await browser.close();
      await Promise.all([server, chatServer].map((running) => running.drain()));
      await plain[Symbol.asyncDispose]();
      await chatting[Symbol.asyncDispose]();
    });

    /** Opens the page; afterwards nothing may have gone wrong in it, nor have been asked of anybody else. */
    async function visit(
      url: string,
      use: (page: Page) => Promise<void>,
      options: BrowserContextOptions = {},
    ): Promise<void> {
      const sized = { viewport: { width: 1280, height: 800 }, patience: 30_000, ...options };
      await using opened = await openQuietPage(browser, url, sized);
      await use(opened.page);
      expect(opened.faults).toEqual([]);
    }

    /** Sets a column's settings by its dialog. */
    async function set(tab: Page, { maxTokens, temperature = 0 }: { maxTokens: number; temperature?: number }) {
      await tab.getByRole('button', { name: 'Settings', exact: true }).first().click();
      await tab.getByLabel('Temperature').fill(String(temperature));
      await tab.getByLabel('Most tokens').fill(String(maxTokens));
      await tab.getByLabel('Seed').fill('7');
      await tab.getByLabel('Speculation').selectOption('lookup');
      await tab.getByRole('button', { name: 'Done', exact: true }).click();
      await tab.getByRole('dialog').waitFor({ state: 'detached' });
    }

    /** Writes a text and waits until the answer has come to its end. */
    async function say(tab: Page, text: string): Promise<string> {
      const field = tab.getByRole('textbox').last();
      await field.fill(text);
      await field.press('Enter');
      return answered(tab);
    }

    /** Waits until nothing is being written; gives the last text of the model. */
    async function answered(tab: Page): Promise<string> {
      const answer = tab.getByRole('article', { name: /^Model/ }).last();
      await answer.getByRole('button', { name: 'Again', exact: true }).waitFor();
      await tab
        .getByRole('button', { name: /^(Continue|Send)$/ })
        .last()
        .waitFor();
      return answer.locator('.plain, .markdown').innerText();
    }

    const shot = (tab: Page, name: string): Promise<void> => takePicture(tab, name, { fullPage: false });

    it('comes with headers that let it load nothing else, and is cached by what is in it', async () => {
      const answer = await fetch(`${server.url}/`);
      expect(answer.headers.get('content-security-policy')).toMatch(/^default-src 'self'; script-src 'self'; /);
      expect(answer.headers.get('content-security-policy')).not.toMatch(/unsafe|\*/);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('cache-control')).toBe('no-cache');
      expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
      const html = await answer.text();
      expect(html).not.toMatch(/<style|style=|<script(?![^>]*src=)/);
      const etag = answer.headers.get('etag') ?? '';
      const again = await fetch(`${server.url}/`, { headers: { 'if-none-match': etag } });
      expect([again.status, await again.text()]).toEqual([304, '']);
      const script = /src="\.(\/assets\/[^"]+\.js)"/.exec(html)?.[1] ?? '';
      const answered = await fetch(server.url + script, { headers: { 'accept-encoding': 'gzip' } });
      expect(answered.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
      expect(answered.headers.get('cache-control')).toContain('immutable');
      expect(answered.headers.get('content-encoding')).toBe('gzip');
      const source = await (await fetch(server.url + script, { headers: { 'accept-encoding': 'identity' } })).text();
      expect(await answered.text()).toBe(source);
      expect(gzipSync(source).length).toBeLessThan(100 * 1024);
    });

    it('writes, forks, walks the branches, edits, stops', async () => {
      await visit(server.url, async (tab) => {
        await set(tab, { maxTokens: 48 });
        const first = await say(tab, 'Once upon a time');
        expect(first).not.toBe('');
        await expectText(tab, '.bar .facts', /\d.* KiB/);
        const trees = tab.locator('.token-tree');
        expect(await trees.count()).toBeGreaterThan(0);
        expect(await trees.first().getAttribute('aria-label')).toMatch(/guessed after .* accepted/);

        await set(tab, { maxTokens: 48, temperature: 1 });
        await tab.getByRole('button', { name: 'Again', exact: true }).last().click();
        const second = await answered(tab);
        expect(second).not.toBe(first);
        const map = tab.getByRole('group', { name: /^Branches/ });
        const turns = map.getByRole('button');
        expect(await turns.count()).toBe(3);
        // By keyboard: up to the first answer, then shown.
        await turns.nth(2).focus();
        await tab.keyboard.press('ArrowUp');
        await tab.keyboard.press('Enter');
        await expect.poll(() => answered(tab)).toBe(first);
        await tab.getByRole('button', { name: 'Next alternative', exact: true }).click();
        await expect.poll(() => answered(tab)).toBe(second);

        await tab.getByRole('button', { name: 'Edit', exact: true }).click();
        await tab.getByLabel('Changed text').fill('My friends');
        await tab.getByRole('button', { name: 'Send as a branch', exact: true }).click();
        await answered(tab);
        expect(await turns.count()).toBe(5);
        await shot(tab, 'branches');

        await set(tab, { maxTokens: 20_000 });
        await tab.getByRole('button', { name: 'Continue', exact: true }).click();
        await tab.getByRole('button', { name: 'Stop', exact: true }).click();
        await answered(tab);
        expect(await tab.getByRole('article').last().innerText()).toContain('stopped');
        await expect.poll(() => server.runner.active).toBe(0);

        await set(tab, { maxTokens: 16 });
        await tab.getByRole('button', { name: 'Fork beside', exact: true }).first().click();
        expect(await tab.getByRole('region', { name: /^Session/ }).count()).toBe(2);
        await say(tab, ' and then');
        await shot(tab, 'beside');
        await tab.getByRole('button', { name: 'Close Session 2' }).click();
        expect(await tab.getByRole('region', { name: /^Session/ }).count()).toBe(1);
      });
    }, 120_000);

    async function expectText(tab: Page, selector: string, pattern: RegExp): Promise<void> {
      await expect.poll(() => tab.locator(selector).first().innerText()).toMatch(pattern);
    }

    it('saves a session and a conversation, and goes on from them', async () => {
      await visit(server.url, async (tab) => {
        await set(tab, { maxTokens: 12 });
        const written = await say(tab, 'Once upon a time');
        const files: Record<string, string> = {};
        for (const what of ['session', 'conversation']) {
          await tab.getByRole('button', { name: 'Save', exact: true }).click();
          const [download] = await Promise.all([
            tab.waitForEvent('download'),
            tab.getByRole('button', { name: `Save the ${what}` }).click(),
          ]);
          files[what] = join(folder, download.suggestedFilename());
          await download.saveAs(files[what]);
          await tab.getByRole('dialog').waitFor({ state: 'detached' });
        }
        const open = async (file: string): Promise<void> => {
          const chosen = tab.waitForEvent('filechooser');
          await tab.getByRole('button', { name: 'Open', exact: true }).click();
          await (await chosen).setFiles(file);
        };
        await open(files.session);
        await expectText(tab, '.opened', /^Once upon a time/);
        expect(await tab.locator('.opened').innerText()).toBe(`Once upon a time${written}`);
        await say(tab, ' and');
        await open(files.conversation);
        await expect.poll(() => tab.getByRole('article', { name: /^Model/ }).count()).toBe(3);
        expect(
          await tab
            .getByRole('article', { name: /^Model/ })
            .last()
            .locator('.plain')
            .innerText(),
        ).toBe(written);
        await open(join(root, 'package.json'));
        expect(await tab.getByRole('alert').innerText()).toContain('not a conversation');
        await tab.getByRole('button', { name: 'Dismiss', exact: true }).click();
      });
    }, 60_000);

    it('keeps conversations over a reload, in a list where they are found, named, copied and deleted', async () => {
      await visit(server.url, async (tab) => {
        await set(tab, { maxTokens: 8 });
        const written = await say(tab, 'Once upon a time');
        const lastText = (): Promise<string> =>
          tab
            .getByRole('article', { name: /^Model/ })
            .last()
            .locator('.plain')
            .innerText();
        await tab.reload();
        await expect.poll(lastText).toBe(written);
        // Its settings have stayed, too: with them, the same text is written.
        await tab.getByRole('button', { name: 'Again', exact: true }).click();
        expect(await answered(tab)).toBe(written);

        // The question stays when the page is left during an answer; a column that is closed meanwhile stays closed.
        await set(tab, { maxTokens: 20_000 });
        await tab.getByRole('textbox').last().fill(' and so');
        await tab.getByRole('button', { name: 'Continue', exact: true }).click();
        await tab.getByRole('button', { name: 'Stop', exact: true }).waitFor();
        await tab.reload();
        await tab.getByText('and so', { exact: true }).waitFor();
        await tab.getByRole('button', { name: 'New session', exact: true }).click();
        await tab.getByRole('button', { name: 'Continue', exact: true }).first().click();
        await tab.getByRole('button', { name: 'Stop', exact: true }).waitFor();
        await tab.getByRole('button', { name: 'Close Session 1' }).click();
        await expect.poll(() => server.runner.active).toBe(0);
        await tab.reload();
        await tab.getByText('Write the beginning of a text.').waitFor();

        const list = async (): Promise<void> => tab.getByRole('button', { name: 'Conversations', exact: true }).click();
        const press = (name: string): Promise<void> => tab.getByRole('button', { name, exact: true }).click();
        await list();
        await press('Rename Once upon a time');
        await tab.getByLabel('Name').fill('Beginnings');
        await press('Rename');
        await tab.getByLabel('Search').fill('UPON');
        await press('Copy Beginnings');
        await expect.poll(() => tab.getByRole('region', { name: /^Session/ }).count()).toBe(2);
        await list();
        await shot(tab, 'conversations');
        await expectAccessible(tab, 'conversations');
        const found = tab.getByRole('dialog').getByRole('listitem');
        expect(await found.count()).toBe(2);
        for (const _ of 'ab')
          await tab
            .getByRole('button', { name: /^Delete .*Beginnings/ })
            .first()
            .click();
        expect(await found.count()).toBe(0);
        await press('Close');
        await tab.reload();
        await tab.getByText('Write the beginning of a text.').waitFor();
        expect(await tab.getByRole('article').count()).toBe(0);
      });
    }, 60_000);

    it('shows hostile Markdown without loading or running any of it', async () => {
      const text =
        '# Title\n\n**bold** [there](https://example.org/) [bad](javascript:alert(1))\n\n' +
        '![i](https://example.org/i.png)<img src="https://example.org/j.png" onerror="alert(1)">' +
        '<script>alert(1)</script><style>body{display:none}</style><form action="https://example.org"></form>' +
        '<p style="position:fixed">x</p>\n\n|a|b|\n|-|-|\n|1|2|\n\n```\ncode\n```\n';
      const turns = [
        { author: 'user', text: 'Hello' },
        { parent: 0, author: 'model', text },
      ];
      const file = { format: 'linnet-conversation', version: 1, system: 'Be brief.', leaf: 1, turns };
      await visit(chatServer.url, async (tab) => {
        const chosen = tab.waitForEvent('filechooser');
        await tab.getByRole('button', { name: 'Open', exact: true }).click();
        const buffer = Buffer.from(JSON.stringify(file));
        await (await chosen).setFiles({ name: 'c.json', mimeType: 'application/json', buffer });
        const shown = tab.locator('.markdown').last();
        await shown.locator('table').waitFor();
        expect(await shown.locator('strong').innerText()).toBe('bold');
        expect(await shown.locator('img, script, style, form, [style], [onerror]').count()).toBe(0);
        const link = shown.locator('a[href]');
        expect(await link.count()).toBe(1);
        const attributes = ['href', 'target', 'rel'].map((name) => link.getAttribute(name));
        expect(await Promise.all(attributes)).toEqual(['https://example.org/', '_blank', 'noopener noreferrer']);
        await shot(tab, 'markdown');
      });
    }, 60_000);

    it('has no fault that axe finds: wide and narrow, light and dark', async () => {
      await visit(chatServer.url, async (tab) => {
        await set(tab, { maxTokens: 60 });
        await say(tab, 'Tell me of the sea.');
        await tab.getByRole('button', { name: 'Again', exact: true }).click();
        await answered(tab);
        for (const [width, height] of [
          [1280, 800],
          [390, 780],
        ] as const) {
          await tab.setViewportSize({ width, height });
          for (const colorScheme of ['light', 'dark'] as const) {
            await tab.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
            await shot(tab, `${colorScheme}-${width}`);
            await expectAccessible(tab, `${colorScheme}, ${width}`);
          }
          expect(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
        }
        await tab.getByRole('button', { name: 'Settings', exact: true }).click();
        await shot(tab, 'settings-390');
        await expectAccessible(tab, 'settings');
        await tab.keyboard.press('Escape');
        await tab.getByRole('button', { name: 'Branches, trees and charts', exact: true }).click();
        await shot(tab, 'insight-390');
        await tab.getByRole('button', { name: /^Colours: system/ }).click();
        expect(await tab.evaluate('document.documentElement.dataset.scheme')).toBe('light');
      });
    }, 120_000);

    it('shows calls of functions as cards, and goes on with their results', async () => {
      const city = { type: 'object', properties: { city: { enum: ['Paris', 'Oslo'] } }, required: ['city'] };
      const weather = { type: 'function', function: { name: 'weather', parameters: city } };
      await visit(chatServer.url, async (tab) => {
        await set(tab, { maxTokens: 120 });
        await tab.getByRole('button', { name: 'Settings', exact: true }).click();
        const dialog = tab.getByRole('dialog');
        await dialog.getByLabel('Functions that the model may call').fill('[{');
        await dialog.getByText('This is not a JSON list').waitFor();
        const chosen = tab.waitForEvent('filechooser');
        await dialog.getByRole('button', { name: 'Load a file' }).click();
        const buffer = Buffer.from(JSON.stringify([weather]));
        await (await chosen).setFiles({ name: 'tools.json', mimeType: 'application/json', buffer });
        await dialog.getByText('1 function', { exact: true }).waitFor();
        await dialog.getByLabel('Calls').selectOption('required');
        await shot(tab, 'functions');
        await dialog.getByRole('button', { name: 'Done' }).click();

        await tab.getByRole('textbox', { name: 'Message' }).fill('What is the weather in Paris?');
        await tab.getByRole('button', { name: 'Send', exact: true }).click();
        const give = tab.getByRole('button', { name: /^Give the result/ });
        await give.waitFor();
        const card = tab.getByRole('region', { name: 'Call of weather' }).first();
        expect(await card.locator('dl').innerText()).toMatch(/^city\s+(Paris|Oslo)$/);
        await shot(tab, 'call');
        await expectAccessible(tab, 'call');
        for (const field of await tab.getByLabel('Result of weather').all()) await field.fill('sunny, 21 °C');
        const models = tab.getByRole('article', { name: /^Model/ });
        expect(await models.count()).toBe(1);
        await give.click();
        await expect.poll(() => models.count()).toBe(2);
        await answered(tab);
        expect(await card.locator('.result .plain').innerText()).toBe('sunny, 21 °C');
        await shot(tab, 'called');
        await expectAccessible(tab, 'called');

        await tab.reload();
        await expect.poll(() => card.locator('.result .plain').innerText()).toBe('sunny, 21 °C');
        await tab.getByRole('button', { name: 'Change the result' }).first().click();
        await tab.getByLabel('Result of weather').first().fill('rain');
        await give.click();
        await expect.poll(() => card.locator('.result .plain').innerText()).toBe('rain');
        await tab.getByRole('group', { name: 'Alternatives' }).waitFor();
        await answered(tab);
        await tab.setViewportSize({ width: 390, height: 780 });
        await tab.emulateMedia({ colorScheme: 'dark' });
        await card.scrollIntoViewIfNeeded();
        await shot(tab, 'called-390-dark');
        await expectAccessible(tab, 'called, narrow');
        expect(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      });
    }, 120_000);

    it('asks for the API key where the server does', async () => {
      const guarded = await startServer(plain, { http: { port: 0, log, page, keys: ['sesame'] } });
      try {
        const context = await browser.newContext();
        const tab = await context.newPage();
        await tab.goto(guarded.url);
        await tab.getByRole('textbox', { name: 'Key' }).fill('sesame');
        await tab.getByRole('button', { name: 'Use', exact: true }).click();
        await set(tab, { maxTokens: 4 });
        expect(await say(tab, 'Once')).not.toBe('');
        await context.close();
      } finally {
        await guarded.drain();
      }
    }, 60_000);
  },
);
