/**
 * The playground in headless Chromium: how soon the first token comes on a first and on a second visit, how long the page's
 * own thread is ever busy while the model writes and trains, and how much script the page loads. Needs Chromium.
 *
 *     node --import tsx bench/playground.ts
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { buildPlayground, servePlayground } from '../scripts/playground-site.ts';
import { launchChromium, noChromium } from '../test/browser/chromium.ts';
import { longestTask, openPlayground } from '../test/browser/playground-page.ts';

if (noChromium !== undefined) throw new Error(noChromium);

/** Seconds from `start` to the first text of the model. */
async function firstToken(page: Page, start: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await start();
  await page.getByRole('button', { name: 'Write', exact: true }).and(page.locator(':enabled')).last().click();
  await page.locator('[data-side=plain] [data-written]').filter({ hasText: /./ }).waitFor();
  return (performance.now() - started) / 1000;
}

async function untilIdle(page: Page): Promise<void> {
  await page.waitForSelector('[data-ready=true]');
}

const folder = await mkdtemp(join(tmpdir(), 'linnet-playground-'));
try {
  const built = join(folder, 'site');
  await buildPlayground(built);
  const assets = join(built, 'assets');
  for (const name of (await readdir(assets)).filter((file) => /\.m?js$/.test(file)).sort()) {
    console.log(`${name}: ${(gzipSync(await readFile(join(assets, name))).length / 1024).toFixed(1)} KiB compressed`);
  }
  await using site = await servePlayground(built);
  const browser = await launchChromium();
  try {
    const { page } = await openPlayground(browser, 'about:blank', '', false);
    console.log(`first visit: first token after ${(await firstToken(page, () => page.goto(site.url))).toFixed(2)} s`);
    await untilIdle(page);
    for (let visit = 0; visit < 3; visit++) {
      console.log(`warm start: first token after ${(await firstToken(page, () => page.reload())).toFixed(2)} s`);
      await untilIdle(page);
    }
    const writing = await longestTask(page, async () => {
      await page.getByRole('button', { name: 'Write', exact: true }).last().click();
      await page.getByText(/^The same text, token for token/).waitFor();
    });
    await untilIdle(page);
    await page.getByRole('button', { name: 'Train', exact: true }).click();
    const training = await longestTask(page, async () => {
      await page.getByRole('button', { name: 'Train' }).last().click();
      await page.locator('[data-side=after] [data-written]').waitFor();
    });
    console.log(`longest task of the page's thread: ${writing} ms while it writes, ${training} ms while it trains`);
    console.log(await page.locator('.verdict').last().textContent());
    for (const side of ['before', 'after']) {
      console.log(`${side}: ${await page.locator(`[data-side=${side}] .text`).textContent()}`);
    }
  } finally {
    await browser.close();
  }
  console.log(`load of the machine: ${loadavg()[0].toFixed(1)}`);
} finally {
  await rm(folder, { recursive: true });
}
