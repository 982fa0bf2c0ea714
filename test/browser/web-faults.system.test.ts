/** Folders that a page must refuse, requests that are stopped, and files that are kept. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ExportManifest, manifestSchema } from '../../src/export/manifest.ts';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { type BrowserSuite, openBrowserSuite, prompt } from './browser-suite.ts';
import { noChromium } from './chromium.ts';
import { openReady } from '../open/ready-model.ts';

describe.skipIf(noChromium !== undefined)(
  `faults in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let suite: BrowserSuite;

    beforeAll(async () => {
      const gpu = join(folder, 'gpu');
      const model = join(folder, 'model');
      const subject = await augmentedTinyLlama();
      await writeExportedModel(gpu, subject, { dtype: 'f32', device: 'webgpu' });
      const foldless = join(folder, 'foldless');
      const twofold = join(folder, 'twofold');
      suite = await openBrowserSuite(folder, {
        folders: { gpu, foldless, twofold, damaged: model, shortened: model, endless: model },
        special: {
          '/damaged/model.onnx.data': (response, bytes) => {
            bytes[bytes.length >> 1] ^= 1;
            response.writeHead(200, { 'Content-Length': bytes.length }).end(bytes);
          },
          '/shortened/model.onnx.data': (response, bytes) => response.writeHead(200).end(bytes.subarray(1000)),
          '/endless/model.onnx.data': (response, bytes) => response.writeHead(200).write(bytes.subarray(1000)),
        },
      });
      await copyWithManifest(model, foldless, (manifest) => {
        manifest.folds = {};
      });
      await copyWithManifest(model, twofold, (manifest) => {
        for (const name of Object.keys(manifest.folds)) manifest.folds[name] = 'model.onnx';
      });
    }, 120_000);

    afterAll(() => suite[Symbol.asyncDispose]());

    it.each([
      ['a damaged weight file', '/damaged', 'FORMAT', /SHA-256/],
      ['a shortened weight file', '/shortened', 'FORMAT', /bytes, expected/],
      ['a folder that is not there', '/nowhere', 'NOT_FOUND', /404/],
      ['a server that is not there', 'http://localhost:1/', 'NOT_FOUND', /cannot fetch "linnet\.json"/],
      ['a device that the folder was not made for', '/gpu', 'MISMATCH', /exported for webgpu, not for wasm/],
      ['a URL of another kind', 'file:///etc', 'INPUT', /http/],
    ])('refuses %s', async (_, url, code, message) => {
      const refusal = await suite.inPage((page) =>
        page.evaluate(async (folderUrl) => {
          try {
            await globalThis.linnet.open(folderUrl, { device: 'wasm' });
            return { code: 'none', message: '' };
          } catch (error) {
            if (error instanceof globalThis.linnet.LinnetError) return { code: error.code, message: error.message };
            return { code: 'untyped', message: String(error) };
          }
        }, url),
      );
      expect(refusal.code).toBe(code);
      expect(refusal.message).toMatch(message);
    });

    it("says where the engine's files were looked for", async () => {
      const message = await suite.inPage((page) =>
        page.evaluate(() =>
          globalThis.linnet.open('/model', { engineFiles: '/nowhere/' }).then(
            () => 'opened',
            (error: unknown) => String(error),
          ),
        ),
      );
      expect(message).toMatch(/^LinnetError: the engine's files are not at \/nowhere\/: .*engineFiles/);
    });

    it.each([
      ['foldless', /names no fold graph/],
      ['twofold', /which its configuration does not ask for/],
    ])('answers the fault of %s as Node does', async (name, message) => {
      const code = await suite.inPage((page) =>
        page.evaluate(
          (url) =>
            globalThis.linnet.open(url, { device: 'wasm' }).then(
              () => 'none',
              (error: unknown) => (error instanceof globalThis.linnet.LinnetError ? error.code : String(error)),
            ),
          `/${name}`,
        ),
      );
      await expect(openReady(join(folder, name))).rejects.toThrow(message);
      await expect(openReady(join(folder, name))).rejects.toMatchObject({ code });
      expect(code).toBe('FORMAT');
    });

    it('stops when told to: while it fetches, and while it generates', async () => {
      const outcome = await suite.inPage((page) =>
        page.evaluate(async (text) => {
          const { LinnetError, open, Runner } = globalThis.linnet;
          const fetching = new AbortController();
          // The rest of this file never comes.
          const opening = open('/endless', {
            signal: fetching.signal,
            onProgress: ({ file }) => {
              if (file === 'model.onnx.data') fetching.abort();
            },
          });
          const code = await opening.then(
            () => 'none',
            (error: unknown) => (error instanceof LinnetError ? error.code : String(error)),
          );
          const model = await open('/model');
          const [engine, { tokenizer }] = [await model.engine(), model];
          const generating = new AbortController();
          const promptTokens = tokenizer.encode(text, { bos: true });
          const prompt = { tokens: Array.from(promptTokens) };
          const job = { prompt, maxTokens: 1_000_000, ignoreEos: true, signal: generating.signal };
          let finish = '';
          for await (const event of new Runner(engine).submit(job)) {
            if (event.type === 'tokens') generating.abort();
            else if (event.type === 'end') finish = event.generation.finish;
          }
          return { code, finish };
        }, prompt),
      );
      expect(outcome).toEqual({ code: 'ABORTED', finish: 'abort' });
    });

    it('keeps files by checksum, and says how far it is', async () => {
      const openOnce = (page: Page) =>
        page.evaluate(async () => {
          const { CacheStorageWeights, open } = globalThis.linnet;
          const seen: { done: number; total: number; cached: number; file: string | undefined }[] = [];
          const cache = new CacheStorageWeights();
          const opened = await open('/model', { cache, onProgress: (progress) => seen.push(progress) });
          await opened.dispose();
          const rising = seen.every(({ done }, i) => i === 0 || done >= seen[i - 1].done);
          return { rising, last: seen[seen.length - 1] };
        });
      await suite.inPage(async (page) => {
        const before = await openOnce(page);
        expect(before.rising).toBe(true);
        const { total } = before.last;
        expect(total).toBeGreaterThan(4e6);
        expect(before.last).toEqual({ file: undefined, done: total, total, cached: 0 });
        const asked = suite.site.requests.length;
        const after = await openOnce(page);
        expect(after.last).toEqual({ file: undefined, done: total, total, cached: total });
        expect(suite.site.requests.slice(asked).filter((path) => path.startsWith('/model/'))).toEqual([
          '/model/linnet.json',
        ]);
      });
    });
  },
);

/** A copy of an exported model with another linnet.json. */
async function copyWithManifest(from: string, to: string, change: (manifest: ExportManifest) => void): Promise<void> {
  await cp(from, to, { recursive: true });
  const file = join(to, 'linnet.json');
  const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  change(manifest);
  await writeFile(file, JSON.stringify(manifest));
}
