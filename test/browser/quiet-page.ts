/** Pages that are watched, pictures of them, and what axe says of them. */
import axeCore from 'axe-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { expect } from 'vitest';

declare global {
  var axe: typeof axeCore;
}

/** Where screenshots go, for those who want to look. */
const pictures = process.env.LINNET_SCREENSHOTS;

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

/** A page, and what has gone wrong in it so far: messages, and addresses of other hosts. */
export interface QuietPage extends AsyncDisposable {
  readonly page: Page;
  readonly faults: readonly string[];
}

/** How a page is opened: as a browser's context is, in 1280 × 900 pixels, and more. */
interface Opening extends BrowserContextOptions {
  /** What requests begin with. Default: the page's own address. */
  readonly host?: string;
  /** A script that runs before those of the page. */
  readonly first?: string;
  /** Milliseconds that what is waited for may take. Default 100,000. */
  readonly patience?: number;
}

export async function openQuietPage(
  browser: Browser,
  url: string,
  { host = url, first, patience = 100_000, ...options }: Opening = {},
): Promise<QuietPage> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(patience);
  const faults = watchFaults(page, host);
  if (first !== undefined) await page.addInitScript(first);
  await page.goto(url);
  return { page, faults, [Symbol.asyncDispose]: () => page.close() };
}

/** A screenshot, where LINNET_SCREENSHOTS names a folder for them. */
export async function takePicture(page: Page, name: string, { fullPage = true } = {}): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage });
}

/** No fault that axe finds. It comes by the debugger: the policy of a page may let nothing be added. @param state for the message */
export async function expectAccessible(page: Page, state: string): Promise<void> {
  await page.evaluate(axeCore.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  expect(found, state).toEqual([]);
}

/** The same in both schemes. */
export async function expectAccessibleInBothSchemes(page: Page): Promise<void> {
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await expectAccessible(page, colorScheme);
  }
}

/** Screenshots go to the folder of LINNET_SCREENSHOTS: dark, light, and as wide as a phone, where nothing may be cut off. */
export async function expectFitsPhone(page: Page, name: string): Promise<void> {
  const picture = (variant: string): Promise<void> => takePicture(page, `${name}-${variant}`);
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture('dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await picture('light');
  await page.setViewportSize({ width: 390, height: 844 });
  await picture('phone');
  expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
  await page.setViewportSize({ width: 1280, height: 900 });
}
