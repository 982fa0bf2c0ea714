/**
 * The playground in headless Chromium: time to the first token on the first and second visits, the longest task of the page's
 * own thread while the model writes and trains, and the size of the loaded scripts. Needs Chromium.
 *
 *     node --import tsx bench/playground.ts
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import { z } from 'zod';
import { buildPlayground, servePlayground } from '../scripts/playground-site.ts';
import { launchChromium, noChromium } from '../test/browser/chromium.ts';
import { longestTask, openPlayground } from '../test/browser/playground-page.ts';

if (noChromium !== undefined) throw new Error(noChromium);

/** Seconds from `start` to the model's first text. */
async function firstToken(page: Page, start: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await start();
  await page.getByRole('form', { name: 'Text and settings' }).getByRole('button', { name: 'Write' }).click();
  await page.locator('[data-side=plain] [data-written]').filter({ hasText: /./ }).waitFor();
  return (performance.now() - started) / 1000;
}

/** The fields that we read from a Chromium trace. */
const traceSchema = z.object({
  traceEvents: z.array(
    z.object({
      name: z.string(),
      pid: z.number(),
      tid: z.number(),
      tdur: z.number().optional(),
      args: z.object({ name: z.string().optional() }).optional(),
    }),
  ),
});

/** Processor time of Chromium's threads during some work, in milliseconds. */
interface Worked {
  /** The longest task of the page's own thread: a long-task entry on an otherwise idle machine. */
  readonly longest: number;
  /** All tasks of all browser threads, including the WebAssembly compiler. */
  readonly total: number;
}

async function traced(browser: Browser, page: Page, work: () => Promise<unknown>): Promise<Worked> {
  await browser.startTracing(page, { categories: ['toplevel', '__metadata'] });
  await work();
  const { traceEvents } = traceSchema.parse(JSON.parse((await browser.stopTracing()).toString('utf8')));
  const threads = traceEvents.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain');
  const tasks = traceEvents.filter(({ name, tdur }) => name.endsWith('RunTask') && tdur !== undefined);
  const own = tasks.filter(({ pid, tid }) => threads.some((thread) => thread.pid === pid && thread.tid === tid));
  if (own.length === 0) throw new Error('the trace has no tasks of the page');
  const times = (events: typeof tasks): number[] => events.map(({ tdur = 0 }) => tdur / 1000);
  return { longest: Math.max(...times(own)), total: times(tasks).reduce((sum, ms) => sum + ms, 0) };
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
    for (let visit = 0; visit < 2; visit++) {
      console.log(`warm start: first token after ${(await firstToken(page, () => page.reload())).toFixed(2)} s`);
      await untilIdle(page);
    }
    let start = 0;
    const { total } = await traced(browser, page, async () => {
      start = await firstToken(page, () => page.reload());
    });
    console.log(
      `warm start: ${(total / 1000).toFixed(2)} s of processor time to the first token (${start.toFixed(2)} s)`,
    );
    await untilIdle(page);
    const seen: number[] = [];
    const watched = (work: () => Promise<void>): Promise<Worked> =>
      traced(browser, page, async () => {
        seen.push(await longestTask(page, work));
      });
    const writing = await watched(async () => {
      await page.getByRole('button', { name: 'Write', exact: true }).last().click();
      await page.getByText(/^The same text, token for token/).waitFor();
    });
    await untilIdle(page);
    await page.getByRole('button', { name: 'Train', exact: true }).click();
    const training = await watched(async () => {
      await page.getByRole('form', { name: 'Training settings' }).getByRole('button', { name: 'Train' }).click();
      await page.locator('[data-side=after] [data-written]').waitFor();
    });
    console.log(
      `longest task of the page's thread, processor time: ${writing.longest.toFixed(1)} ms while it writes, ` +
        `${training.longest.toFixed(1)} ms while it trains; by the clock ${seen.join(' and ')} ms`,
    );
    console.log(await page.getByText(/^Trained: /).textContent());
    for (const side of ['before', 'after']) {
      console.log(`${side}: ${await page.locator(`[data-side=${side}] .text`).textContent()}`);
    }
  } finally {
    await browser.close();
  }
  console.log(`machine load: ${loadavg()[0].toFixed(1)}`);
} finally {
  await rm(folder, { recursive: true });
}
