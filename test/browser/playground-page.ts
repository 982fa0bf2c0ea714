/** What the tests of the playground share: a page that is open, what went wrong in it, and how it is judged. */
import type { Browser, Page } from 'playwright-core';
import { watchFaults } from './quiet-page.ts';

declare global {
  var longTasks: number[];
}

export interface OpenedPlayground {
  readonly page: Page;
  /** Errors and warnings of the console, and addresses of other hosts. */
  readonly faults: string[];
}

/** Opens the page, and waits for its model unless `waits` says otherwise. */
export async function openPlayground(
  browser: Browser,
  url: string,
  query = '',
  waits = true,
): Promise<OpenedPlayground> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(100_000);
  const faults = watchFaults(page, url);
  await page.addInitScript(`
    globalThis.longTasks = [];
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) globalThis.longTasks.push(duration);
    }).observe({ type: 'longtask' });
  `);
  await page.goto(url + query);
  if (waits) await page.waitForSelector('[data-ready=true]');
  return { page, faults };
}

/** The longest task of the page's own thread while something was done, in milliseconds; tasks below 50 count as 0. */
export async function longestTask(page: Page, work: () => Promise<void>): Promise<number> {
  await page.evaluate(() => {
    globalThis.longTasks.length = 0;
  });
  await work();
  return page.evaluate(() => Math.max(0, ...globalThis.longTasks));
}
