/** Pages that are watched: what their console says, what they ask of other hosts, and whether they are readable for everybody. */
import axeCore from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';

declare global {
  var axe: typeof axeCore;
}

/** A page, and what has gone wrong in it so far: messages, and addresses of other hosts. */
export interface QuietPage extends AsyncDisposable {
  readonly page: Page;
  readonly faults: readonly string[];
}

/**
 * @param options.host what requests begin with. Default: the page's own address
 * @param options.first a script that runs before those of the page
 */
export async function openQuietPage(
  browser: Browser,
  url: string,
  { host = url, first }: { readonly host?: string; readonly first?: string } = {},
): Promise<QuietPage> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(100_000);
  const faults: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') faults.push(message.text());
  });
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(host) && !/^(data|blob):/.test(request.url())) faults.push(request.url());
  });
  if (first !== undefined) await page.addInitScript(first);
  await page.goto(url);
  return { page, faults, [Symbol.asyncDispose]: () => page.close() };
}

/** Nothing that axe finds, in the dark scheme and in the light one. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axeCore.source);
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    expect(found, colorScheme).toEqual([]);
  }
}

/** Screenshots go to the folder of LINNET_SCREENSHOTS: dark, light, and as wide as a phone, where nothing may be cut off. */
export async function expectFitsPhone(page: Page, name: string): Promise<void> {
  const folder = process.env.LINNET_SCREENSHOTS;
  const picture = async (variant: string): Promise<void> => {
    if (folder !== undefined) await page.screenshot({ path: `${folder}/${name}-${variant}.png`, fullPage: true });
  };
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture('dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await picture('light');
  await page.setViewportSize({ width: 390, height: 844 });
  await picture('phone');
  expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
  await page.setViewportSize({ width: 1280, height: 900 });
}
