/**
 * Takes the pictures of the playground's views and the explained pages for docs/.
 *
 *     npx tsx scripts/playground-figures.ts [PREFIX OF NAMES]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Locator, type Page } from 'playwright-core';
import { projectRoot } from './entries.ts';
import { buildPlayground, servePlayground } from './playground-site.ts';

/** One picture: the page to open and the steps before the shot. */
interface Picture {
  /** Path after the site's address. */
  readonly path: string;
  /** Pixels from the top. Default: all. */
  readonly height?: number;
  /** Window width in pixels. Default 1000. */
  readonly width?: number;
  /** Default: light. */
  readonly scheme?: 'light' | 'dark';
  readonly prepare: (page: Page) => Promise<Locator>;
}

const explained = (name: string): Picture => ({
  path: `explained/${name}.html`,
  prepare: async (page) => page.locator('figure.interactive'),
});

async function openView(page: Page, view: string, button: string): Promise<void> {
  await page.waitForSelector('[data-ready=true]');
  await page.getByRole('button', { name: view, exact: true }).click();
  await page.getByRole('button', { name: button, exact: true }).click();
  await page.locator('.heat-map').locator('visible=true').first().waitFor();
}

/** Lets the model write twice, then takes the whole page. */
async function write(page: Page): Promise<Locator> {
  await page.getByRole('form', { name: 'Text and settings' }).getByRole('button', { name: 'Write' }).click();
  await page.getByText(/^The same text, token for token/).waitFor();
  return page.locator('body');
}

async function train(page: Page): Promise<Locator> {
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await page.getByRole('form', { name: 'Training settings' }).getByRole('button', { name: 'Train' }).click();
  await page.locator('[data-side=after] [data-written]').waitFor();
  return page.locator('body');
}

const pictures: Readonly<Record<string, Picture>> = {
  'playground-write': { path: '', height: 900, width: 1280, prepare: write },
  'playground-train': { path: '', height: 900, width: 1280, scheme: 'dark', prepare: train },
  'playground-phone': { path: '', height: 1300, width: 390, scheme: 'dark', prepare: write },
  'attention-maps': {
    path: '',
    height: 800,
    async prepare(page) {
      await openView(page, 'Attention', 'Look');
      await page.getByRole('button', { name: 'Linear, layer 4, head 3' }).click();
      await page.getByRole('option', { name: /are,/ }).first().click();
      return page.locator('.view').locator('visible=true').locator('.results');
    },
  },
  'mask-experiment': {
    path: '',
    async prepare(page) {
      await page.waitForSelector('[data-ready=true]');
      await page.getByRole('button', { name: 'Mask', exact: true }).click();
      await page.getByLabel('Mask the convolution').uncheck();
      await openView(page, 'Mask', 'Replace every token');
      return page.locator('.view').locator('visible=true').locator('.results');
    },
  },
  'explained-group': explained('group'),
  'explained-tree': explained('tree'),
  'explained-convolution': explained('convolution'),
};

/** Takes only pictures whose names begin with this. Default: all. */
const only = process.argv[2] ?? '';

const folder = await mkdtemp(join(tmpdir(), 'linnet-figures-'));
try {
  await buildPlayground(folder);
  await using site = await servePlayground(folder);
  const executablePath = process.env.LINNET_CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  for (const [name, picture] of Object.entries(pictures).filter(([name]) => name.startsWith(only))) {
    const { path, height, width = 1000, scheme: colorScheme = 'light', prepare } = picture;
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    page.setDefaultTimeout(120_000);
    await page.goto(site.url + path);
    const shown = await prepare(page);
    const file = join('docs/figures', `${name}.png`);
    const box = await shown.boundingBox();
    if (box === null) throw new Error(`nothing visible for ${name}`);
    const clip = { ...box, height: Math.min(height ?? box.height, box.height) };
    await page.screenshot({ path: join(projectRoot, file), clip, fullPage: true });
    console.log(`wrote ${file}`);
    await page.close();
  }
  await browser.close();
} finally {
  await rm(folder, { recursive: true });
}
