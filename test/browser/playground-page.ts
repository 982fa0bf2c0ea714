/** What the tests of the playground share: a page that is open, what went wrong in it, and how it is judged. */
import axeCore from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';

declare global {
  var axe: typeof axeCore;
  var longTasks: number[];
}

/** Where screenshots go, for those who want to look. */
export const pictures = process.env.LINNET_SCREENSHOTS;

export interface OpenedPlayground {
  readonly page: Page;
  /** Errors and warnings of the console, and addresses of other hosts. */
  readonly faults: string[];
}

/** Errors and warnings of the console from now on, and requests that do not begin with `host`. */
export function watchFaults(page: Page, host: string): string[] {
  const faults: string[] = [];
  page.on('console', (message) => {
    // What the browser says itself when a page asks whether there is a GPU.
    if (message.text() === 'No available adapters.') return;
    if (message.type() === 'error' || message.type() === 'warning') faults.push(message.text());
  });
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(host) && !/^(data|blob):/.test(request.url())) faults.push(request.url());
  });
  return faults;
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

/** In both schemes, by axe. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axeCore.source);
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    expect(found, colorScheme).toEqual([]);
  }
}
