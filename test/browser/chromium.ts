/** The Chromium of the system, without a window, and pages bundled as a user of the package would bundle them. */
import { existsSync } from 'node:fs';
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

/** Bundles the page `root/index.html` into a folder. */
export async function bundlePage(root: string, outDir: string): Promise<void> {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    build: { outDir, emptyOutDir: true, target: 'esnext', assetsInlineLimit: 0 },
  });
}
