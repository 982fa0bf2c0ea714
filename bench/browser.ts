/**
 * Decoding in headless Chromium: the bundled page's size, and tokens per second by storage type and threads, for the
 * small LLaMA in `assets/` and for one with random weights. Needs Chromium.
 *
 *     node --import tsx bench/browser.ts [WIDTH] [LAYERS] [VOCABULARY] [--webgpu]
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { mixerPreset } from '../src/attention/presets.ts';
import { exportModel } from '../src/export/export-model.ts';
import { describeCausalModel } from '../src/models/families/index.ts';
import { initializeParameters } from '../src/models/initialize.ts';
import { withMixer } from '../src/models/linearization/linearize.ts';
import { readerOf } from '../src/quantization/weight-reader.ts';
import { Random } from '../src/random.ts';
import { makeTable, textTable } from '../src/report/table.ts';
import { bundlePage, launchChromium, noChromium } from '../test/browser/chromium.ts';
import '../test/browser/page.ts';
import { serveSite } from '../test/browser/site.ts';
import { randomLlamaConfig } from './random-llama.ts';
import { augmentedTinyLlama, type ModelWithWeights } from '../test/export/exported-model.ts';

if (noChromium !== undefined) throw new Error(noChromium);
const { values, positionals } = parseArgs({ allowPositionals: true, options: { webgpu: { type: 'boolean' } } });
const [width = 512, layers = 6, vocabulary = 4096] = positionals.map(Number);
const promptLength = 128;
const tokens = 32;

function randomModel(): ModelWithWeights {
  const config = randomLlamaConfig({ width, layers, vocabulary, length: 4096 });
  const model = withMixer(describeCausalModel({ ...config, tie_word_embeddings: false }), mixerPreset('augmented'));
  return { model, parameters: initializeParameters(model, new Random(1)) };
}

interface Speed {
  readonly prefill: number;
  readonly decode: number;
}

/** Opens a folder in a fresh page and times a prompt and a greedy continuation, after a warm-up of both. */
async function measure(page: Page, url: string, threads: number): Promise<Speed> {
  return page.evaluate(
    async ({ url, threads, promptLength, tokens }) => {
      const { open, runTogether } = globalThis.linnet;
      const opened = await open(url, { threads });
      const engine = await opened.engine();
      const { vocabulary } = engine.model.sizes;
      const promptTokens = Array.from({ length: promptLength }, (_, i) => (i * 7919) % vocabulary);
      const job = { prompt: { tokens: promptTokens }, ignoreEos: true };
      await runTogether(engine, [{ ...job, maxTokens: 4 }]);
      const [{ prefillSeconds, tokensPerSecond }] = await runTogether(engine, [{ ...job, maxTokens: tokens }]);
      await opened.dispose();
      return { prefill: promptLength / prefillSeconds, decode: tokensPerSecond };
    },
    { url, threads, promptLength, tokens },
  );
}

/** The bundler's files for the entry: a page that uses one device loads only that device's files. */
async function bundleSizes(assets: string): Promise<{ file: string; bytes: number; gzip: number }[]> {
  const names = (await readdir(assets)).sort();
  return Promise.all(
    names.map(async (name) => {
      const bytes = await readFile(join(assets, name));
      return { file: name.replace(/-[\w-]{8}(\.\w+)$/, '$1'), bytes: bytes.length, gzip: gzipSync(bytes).length };
    }),
  );
}

const kilobytes = (count: number): string => `${(count / 1e3).toFixed(0)} kB`;
const rate = (value: number): string => value.toFixed(value < 10 ? 1 : 0);

const folder = await mkdtemp(join(tmpdir(), 'linnet-browser-'));
try {
  await bundlePage(fileURLToPath(new URL('../test/browser', import.meta.url)), join(folder, 'page'));
  const sizes = await bundleSizes(join(folder, 'page/assets'));
  console.log(
    textTable(
      makeTable<(typeof sizes)[number]>(
        [
          { header: 'file', value: 'file' },
          { header: 'size', value: 'bytes', format: kilobytes },
          { header: 'gzip', value: 'gzip', format: kilobytes },
        ],
        sizes,
      ),
    ),
  );

  const device = values.webgpu === true ? 'webgpu' : 'cpu';
  const threadCounts = device === 'webgpu' ? [1] : [1, 2];
  const dtypes = device === 'webgpu' ? (['f32'] as const) : (['f32', 'w8a8', 'int4'] as const);
  const subjects = { 'tiny-llama': await augmentedTinyLlama(), [`${layers} × ${width}`]: randomModel() };
  await using site = await serveSite({ folders: { '': join(folder, 'page'), models: folder } });
  const browser = await launchChromium({ gpu: device === 'webgpu' });
  const rows: ({ model: string; dtype: string; threads: number } & Speed)[] = [];
  try {
    for (const [index, [name, { model, parameters }]] of Object.entries(subjects).entries()) {
      for (const dtype of dtypes) {
        const exported = `${index}-${dtype}`;
        await exportModel(join(folder, exported), { model, weights: readerOf(parameters), dtype, device });
        for (const threads of threadCounts) {
          const page = await browser.newPage();
          page.setDefaultTimeout(600_000);
          await page.addInitScript('globalThis.__name = (value) => value'); // functions compiled by tsx call it
          await page.goto(`${site.url}index.html`);
          await page.waitForFunction('globalThis.linnet !== undefined');
          const speed = await measure(page, `/models/${exported}`, threads);
          console.error(`${name} ${dtype} ${threads}: ${rate(speed.prefill)} and ${rate(speed.decode)} tok/s`);
          rows.push({ model: name, dtype, threads, ...speed });
          await page.close();
        }
      }
    }
  } finally {
    await browser.close();
  }
  console.log(
    textTable(
      makeTable<(typeof rows)[number]>(
        [
          { header: 'model', value: 'model' },
          { header: 'dtype', value: 'dtype' },
          { header: 'threads', value: 'threads' },
          { header: 'prompt', unit: 'tok/s', value: 'prefill', format: rate },
          { header: 'decode', unit: 'tok/s', value: 'decode', format: rate },
        ],
        rows,
      ),
    ),
  );
} finally {
  await rm(folder, { recursive: true });
}
