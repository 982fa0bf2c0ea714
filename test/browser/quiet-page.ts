/** Pages that are watched, and pictures of them. */
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';
import { pictures, watchFaults } from './playground-page.ts';

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
  const faults = watchFaults(page, host);
  if (first !== undefined) await page.addInitScript(first);
  await page.goto(url);
  return { page, faults, [Symbol.asyncDispose]: () => page.close() };
}

/** Screenshots go to the folder of LINNET_SCREENSHOTS: dark, light, and as wide as a phone, where nothing may be cut off. */
export async function expectFitsPhone(page: Page, name: string): Promise<void> {
  const picture = async (variant: string): Promise<void> => {
    if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}-${variant}.png`, fullPage: true });
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
