/** The Chromium of the system, without a window, and pages bundled as a user of the package would bundle them. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type Browser, chromium } from 'playwright-core';
import { build } from 'vite';

const executablePath = process.env.LINNET_CHROMIUM ?? '/usr/bin/chromium';

/** Why there is no browser to test in; undefined where there is one. */
export const noChromium = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install it, or name another in LINNET_CHROMIUM`;

const quiet = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** @param gpu lets WebGPU run on a driver that computes on the CPU */
export function launchChromium({ gpu = false } = {}): Promise<Browser> {
  const graphics = gpu ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'] : ['--disable-gpu'];
  return chromium.launch({ executablePath, args: [...quiet, ...graphics] });
}

/** Memory of all processes of a browser, memory that they share counted once: bytes, as Linux counts them. */
export async function browserBytes(browser: Browser): Promise<number> {
  const { processInfo } = await (await browser.newBrowserCDPSession()).send('SystemInfo.getProcessInfo');
  const sizes = processInfo.map(async ({ id }) => {
    const memory = await readFile(`/proc/${id}/smaps_rollup`, 'utf8').catch(() => '');
    return 1024 * Number(/^Pss: +(\d+) kB/m.exec(memory)?.[1] ?? 0);
  });
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

/** Bundles the page `root/index.html` into a folder. */
export async function bundlePage(root: string, outDir: string): Promise<void> {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    build: { outDir, emptyOutDir: true, target: 'esnext', assetsInlineLimit: 0 },
  });
}
