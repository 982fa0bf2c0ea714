/**
 * The entry for browsers in a real one: a bundled page opens an exported model over HTTP and must write what Node writes.
 * Needs Chromium; WebGPU runs on its driver that computes on the CPU.
 */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { createServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../../src/decoding/generate.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { exportFolder } from '../../src/export/export-folder.ts';
import { type ExportManifest, manifestSchema } from '../../src/export/manifest.ts';
import { openExportedModel } from '../../src/export/open-export.ts';
import { bundlePage, launchChromium, noChromium } from './chromium.ts';
import './page.ts';
import { type Site, serveSite } from './site.ts';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

declare const crossOriginIsolated: boolean;

const prompt = 'The state of the union';
const sampling = { temperature: 0.9, topK: 40, topP: 0.95, seed: 7 };
const maxTokens = 48;

describe.skipIf(noChromium !== undefined)(
  `in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let browser: Browser;
    let site: Site;
    let greedy: readonly number[] = [];
    let sampled: readonly number[] = [];

    /** A copy of the exported model with another linnet.json. */
    async function withManifest(name: string, change: (manifest: ExportManifest) => void): Promise<string> {
      const copy = join(folder, name);
      await cp(join(folder, 'model'), copy, { recursive: true });
      const file = join(copy, 'linnet.json');
      const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
      change(manifest);
      await writeFile(file, JSON.stringify(manifest));
      return copy;
    }

    beforeAll(async () => {
      const subject = await augmentedTinyLlama();
      const model = join(folder, 'model');
      const gpu = join(folder, 'gpu');
      await writeExportedModel(model, subject, { dtype: 'f32' });
      await writeExportedModel(gpu, subject, { dtype: 'f32', device: 'webgpu' });
      await writeExportedModel(join(folder, 'half'), subject, { dtype: 'f16', device: 'webgpu' });
      for (const dtype of ['w8a8', 'int4', 'mixed'] as const) {
        await writeExportedModel(join(folder, dtype), subject, { dtype });
      }
      await saveTinyModel(join(folder, 't5'), 1, 't5');
      for (const dtype of ['f32', 'w8a8', 'int4', 'mixed'] as const) {
        await exportFolder(join(folder, 't5'), join(folder, `t5-${dtype}`), { dtype });
      }
      const tokenizer = await loadTokenizer(model);
      await using engine = await DecodingEngine.create(subject.model, subject.parameters);
      const promptTokens = tokenizer.encode(prompt, { bos: true });
      const options = { promptTokens, maxTokens, ignoreEos: true };
      ({ tokens: greedy } = await generateToEnd(engine, options));
      ({ tokens: sampled } = await generateToEnd(engine, { ...options, sampler: new Sampler(sampling) }));

      await bundlePage(fileURLToPath(new URL('.', import.meta.url)), join(folder, 'page'));
      site = await serveSite({
        folders: {
          '': join(folder, 'page'),
          exports: folder,
          model,
          gpu,
          foldless: await withManifest('foldless', (manifest) => {
            manifest.folds = {};
          }),
          twofold: await withManifest('twofold', (manifest) => {
            for (const name of Object.keys(manifest.folds)) manifest.folds[name] = 'model.onnx';
          }),
          damaged: model,
          shortened: model,
          endless: model,
        },
        special: {
          '/damaged/model.onnx.data': (response, bytes) => {
            bytes[bytes.length >> 1] ^= 1;
            response.writeHead(200, { 'Content-Length': bytes.length }).end(bytes);
          },
          '/shortened/model.onnx.data': (response, bytes) => response.writeHead(200).end(bytes.subarray(1000)),
          '/endless/model.onnx.data': (response, bytes) => response.writeHead(200).write(bytes.subarray(1000)),
        },
      });
      browser = await launchChromium();
    }, 120_000);

    afterAll(async () => {
      await browser.close();
      await site[Symbol.asyncDispose]();
    });

    /** Gives a fresh page, where the engine has not started, to `use`. */
    async function inPage<T>(use: (page: Page) => Promise<T>, url = site.url, from = browser): Promise<T> {
      const page = await from.newPage();
      page.setDefaultTimeout(100_000);
      try {
        await page.goto(`${url}index.html`);
        await page.waitForFunction('globalThis.linnet !== undefined');
        return await use(page);
      } finally {
        await page.close();
      }
    }

    it('writes what Node writes, greedy and sampled, event by event', async () => {
      const written = await inPage((page) =>
        page.evaluate(
          async ({ prompt, sampling, maxTokens }) => {
            const { generate, openModel, Sampler } = globalThis.linnet;
            const { engine, tokenizer } = await openModel('/model');
            const promptTokens = tokenizer.encode(prompt, { bos: true });
            const write = async (sampler?: InstanceType<typeof Sampler>) => {
              const tokens: number[] = [];
              let text = '';
              let finish = '';
              for await (const event of generate(engine, {
                promptTokens,
                maxTokens,
                ignoreEos: true,
                tokenizer,
                sampler,
              })) {
                if (event.type === 'tokens') {
                  tokens.push(...event.tokens);
                  text += event.text;
                }
                if (event.type === 'end') finish = event.generation.finish;
              }
              return { tokens, finish, whole: text === tokenizer.decode(tokens) };
            };
            return { greedy: await write(), sampled: await write(new Sampler(sampling)) };
          },
          { prompt, sampling, maxTokens },
        ),
      );
      expect(greedy).toHaveLength(maxTokens);
      expect(sampled).not.toEqual(greedy);
      expect(written.greedy).toEqual({ tokens: greedy, finish: 'length', whole: true });
      expect(written.sampled).toEqual({ tokens: sampled, finish: 'length', whole: true });
    });

    it('opens at the front door, with sessions in memory', async () => {
      const outcome = await inPage((page) =>
        page.evaluate(
          async ({ prompt, maxTokens }) => {
            const { open, LinnetError } = globalThis.linnet;
            const model = await open('/model');
            const generated = model.generate(prompt, { maxTokens, ignoreEos: true });
            await generated.text();
            const session = model.session();
            await session.continue(prompt, { maxTokens: maxTokens / 2, ignoreEos: true }).text();
            await session.continue('', { maxTokens: maxTokens / 2, ignoreEos: true }).text();
            const refused = await session.save('a').catch((error: unknown) => error);
            const { kind, family, fingerprint } = model;
            await model.dispose();
            const code = refused instanceof LinnetError ? refused.code : String(refused);
            return {
              ...{ kind, family, fingerprint, code },
              tokens: generated.generation.tokens,
              session: session.tokens,
            };
          },
          { prompt, maxTokens },
        ),
      );
      await using exported = await openExportedModel(join(folder, 'model'));
      expect(outcome).toMatchObject({ kind: 'causal', family: 'llama', tokens: greedy, code: 'CONFIG' });
      expect(outcome.fingerprint).toBe(exported.fingerprint);
      expect(outcome.session.slice(-maxTokens)).toEqual(greedy);
    });

    it('opens T5 at the front door', async () => {
      const out = join(folder, 't5-f32');
      await using exported = await openExportedModel(out, { threads: 1 });
      const source = (await loadTokenizer(out)).encode(prompt);
      const state = exported.engine.newState(await exported.engine.encode([...source, ...exported.model.eosIds]));
      const options = { promptTokens: [], maxTokens: 8, ignoreEos: true, state };
      const { tokens } = await generateToEnd(exported.engine, options);
      const outcome = await inPage((page) =>
        page.evaluate(async (text) => {
          const model = await globalThis.linnet.open('exports/t5-f32');
          const generated = model.generate(text, { maxTokens: 8, ignoreEos: true });
          await generated.text();
          const { kind, fingerprint } = model;
          await model.dispose();
          return { kind, fingerprint, tokens: generated.generation.tokens };
        }, prompt),
      );
      expect(outcome).toEqual({ kind: 'encoder-decoder', fingerprint: exported.fingerprint, tokens });
    });

    it('speculates exactly, and forks states', async () => {
      const outcome = await inPage((page) =>
        page.evaluate(
          async ({ prompt, maxTokens }) => {
            const { generateToEnd, LookupDrafter, openModel, SpeculationStatistics, speculative } = globalThis.linnet;
            const opened = await openModel('/model/');
            const { engine, tokenizer } = opened;
            const promptTokens = tokenizer.encode(prompt, { bos: true });
            const statistics = new SpeculationStatistics();
            const options = { promptTokens, maxTokens, ignoreEos: true };
            const method = speculative(new LookupDrafter(), { statistics });
            const looked = await generateToEnd(engine, { ...options, method });
            const state = engine.newState();
            await engine.prefill(state, promptTokens.subarray(0, -1));
            const bytes = state.bytes;
            const fork = await generateToEnd(engine, { ...options, state: state.fork() });
            const original = await generateToEnd(engine, { ...options, state });
            await opened.dispose();
            const afterwards = await generateToEnd(engine, options).then(
              () => 'none',
              (error: unknown) => (error instanceof globalThis.linnet.LinnetError ? error.code : String(error)),
            );
            return {
              looked: looked.tokens,
              steps: looked.steps,
              fork: fork.tokens,
              original: original.tokens,
              grown: state.bytes - bytes,
              afterwards,
            };
          },
          { prompt, maxTokens },
        ),
      );
      expect(outcome.looked).toEqual(greedy);
      expect(outcome.steps).toBeLessThan(maxTokens);
      expect(outcome.fork).toEqual(greedy);
      expect(outcome.original).toEqual(greedy);
      expect(outcome.grown).toBe(0);
      expect(outcome.afterwards).toBe('RUNTIME');
    });

    /** Greedy tokens of a page, with how it ran. */
    async function runIn(page: Page, options: { threads?: number }, count = maxTokens, url = 'model') {
      const tokens = await page.evaluate(
        async ({ prompt, count, options, url }) => {
          const { engine, tokenizer } = await globalThis.linnet.openModel(url, options);
          const promptTokens = tokenizer.encode(prompt, { bos: true });
          const { tokens } = await globalThis.linnet.generateToEnd(engine, {
            promptTokens,
            maxTokens: count,
            ignoreEos: true,
          });
          return tokens;
        },
        { prompt, count, options, url },
      );
      return { tokens, isolated: await page.evaluate(() => crossOriginIsolated), workers: page.workers().length };
    }

    it('computes with threads where the page is isolated, and without where it is not', async () => {
      const threaded = await inPage((page) => runIn(page, { threads: 2 }));
      expect(threaded).toEqual({ tokens: greedy, isolated: true, workers: 1 });
      const single = await inPage((page) => runIn(page, { threads: 1 }));
      expect(single).toEqual({ tokens: greedy, isolated: true, workers: 0 });
      await using open = await serveSite({
        folders: { '': join(folder, 'page'), model: join(folder, 'model') },
        isolated: false,
      });
      const unshared = await inPage((page) => runIn(page, { threads: 2 }), open.url);
      expect(unshared).toEqual({ tokens: greedy, isolated: false, workers: 0 });
    });

    it.each([
      ['a damaged weight file', '/damaged', 'FORMAT', /SHA-256/],
      ['a shortened weight file', '/shortened', 'FORMAT', /bytes, expected/],
      ['a folder that is not there', '/nowhere', 'NOT_FOUND', /404/],
      ['a server that is not there', 'http://localhost:1/', 'NOT_FOUND', /cannot fetch "linnet\.json"/],
      ['a device that the folder was not made for', '/gpu', 'MISMATCH', /exported for webgpu, not for wasm/],
      ['a URL of another kind', 'file:///etc', 'INPUT', /http/],
    ])('refuses %s', async (_, url, code, message) => {
      const refusal = await inPage((page) =>
        page.evaluate(async (folderUrl) => {
          try {
            await globalThis.linnet.openModel(folderUrl, { device: 'wasm' });
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

    it.each([
      ['foldless', /names no fold graph/],
      ['twofold', /which its configuration does not ask for/],
    ])('answers the fault of %s as Node does', async (name, message) => {
      const code = await inPage((page) =>
        page.evaluate(
          (url) =>
            globalThis.linnet.openModel(url, { device: 'wasm' }).then(
              () => 'none',
              (error: unknown) => (error instanceof globalThis.linnet.LinnetError ? error.code : String(error)),
            ),
          `/${name}`,
        ),
      );
      await expect(openExportedModel(join(folder, name))).rejects.toThrow(message);
      await expect(openExportedModel(join(folder, name))).rejects.toMatchObject({ code });
      expect(code).toBe('FORMAT');
    });

    it('stops when told to: while it fetches, and while it generates', async () => {
      const outcome = await inPage((page) =>
        page.evaluate(async (prompt) => {
          const { generateToEnd, LinnetError, openModel } = globalThis.linnet;
          const fetching = new AbortController();
          // The rest of this file never comes.
          const opening = openModel('/endless', {
            signal: fetching.signal,
            onProgress: ({ file }) => {
              if (file === 'model.onnx.data') fetching.abort();
            },
          });
          const code = await opening.then(
            () => 'none',
            (error: unknown) => (error instanceof LinnetError ? error.code : String(error)),
          );
          const { engine, tokenizer } = await openModel('/model');
          const generating = new AbortController();
          setTimeout(() => generating.abort(), 100);
          const promptTokens = tokenizer.encode(prompt, { bos: true });
          const options = { promptTokens, maxTokens: 1_000_000, ignoreEos: true, signal: generating.signal };
          const { finish, tokens } = await generateToEnd(engine, options);
          return { code, finish, some: tokens.length > 0 };
        }, prompt),
      );
      expect(outcome).toEqual({ code: 'ABORTED', finish: 'abort', some: true });
    });

    it('keeps files by checksum, and says how far it is', async () => {
      const openOnce = (page: Page) =>
        page.evaluate(async () => {
          const { CacheStorageWeights, openModel } = globalThis.linnet;
          const seen: { done: number; total: number; cached: number; file: string | undefined }[] = [];
          const cache = new CacheStorageWeights();
          const opened = await openModel('/model', { cache, onProgress: (progress) => seen.push(progress) });
          await opened.dispose();
          const rising = seen.every(({ done }, i) => i === 0 || done >= seen[i - 1].done);
          return { rising, last: seen[seen.length - 1] };
        });
      await inPage(async (page) => {
        const before = await openOnce(page);
        expect(before.rising).toBe(true);
        const { total } = before.last;
        expect(total).toBeGreaterThan(4e6);
        expect(before.last).toEqual({ file: undefined, done: total, total, cached: 0 });
        const asked = site.requests.length;
        const after = await openOnce(page);
        expect(after.last).toEqual({ file: undefined, done: total, total, cached: total });
        expect(site.requests.slice(asked).filter((path) => path.startsWith('/model/'))).toEqual(['/model/linnet.json']);
      });
    });

    it.each(['w8a8', 'int4', 'mixed'] as const)('writes with %s weights what Node writes with them', async (dtype) => {
      const count = 12;
      const tokenizer = await loadTokenizer(join(folder, dtype));
      await using exported = await openExportedModel(join(folder, dtype));
      const promptTokens = tokenizer.encode(prompt, { bos: true });
      const expected = await generateToEnd(exported.engine, { promptTokens, maxTokens: count, ignoreEos: true });
      const { tokens } = await inPage((page) => runIn(page, {}, count, `exports/${dtype}`));
      expect(tokens).toEqual(expected.tokens);
    });

    it.each(['f32', 'w8a8', 'int4', 'mixed'] as const)(
      'reads a text and generates another: T5 as %s',
      async (dtype) => {
        const out = join(folder, `t5-${dtype}`);
        await using exported = await openExportedModel(out, { threads: 1 });
        const tokenizer = await loadTokenizer(out);
        const texts = ['It was.', 'It was the best of times, it was the worst'];
        const sources = texts.map((text) => [...tokenizer.encode(text), ...exported.model.eosIds]);
        expect(sources.map(({ length }) => length > 32)).toEqual([false, true]);
        const expected: (readonly number[])[] = [];
        for (const source of sources) {
          const state = exported.engine.newState(await exported.engine.encode(source));
          const { tokens } = await generateToEnd(exported.engine, {
            promptTokens: [],
            maxTokens: 12,
            ignoreEos: true,
            state,
          });
          expected.push(tokens);
        }
        const found = await inPage((page) =>
          page.evaluate(
            async ({ url, texts }) => {
              const { generateToEnd, LinnetError, LookupDrafter, openModel, speculative } = globalThis.linnet;
              const { engine, tokenizer, model } = await openModel(url);
              const plain: (readonly number[])[] = [];
              const drafted: (readonly number[])[] = [];
              const options = { promptTokens: [], maxTokens: 12, ignoreEos: true };
              for (const text of texts) {
                const encoded = await engine.encode([...tokenizer.encode(text), ...model.eosIds]);
                plain.push((await generateToEnd(engine, { ...options, state: engine.newState(encoded) })).tokens);
                const method = speculative(new LookupDrafter());
                const state = engine.newState(encoded);
                drafted.push((await generateToEnd(engine, { ...options, method, state })).tokens);
              }
              const long = await engine.encode(new Int32Array(65)).then(
                () => 'none',
                (error: unknown) => (error instanceof LinnetError ? error.code : String(error)),
              );
              return { plain, drafted, long };
            },
            { url: `exports/t5-${dtype}`, texts },
          ),
        );
        expect(found).toEqual({ plain: expected, drafted: expected, long: 'INPUT' });
      },
    );

    it('serves the example page, which streams text', async () => {
      const root = fileURLToPath(new URL('../../examples/browser', import.meta.url));
      const server = await createServer({
        root,
        configFile: join(root, 'vite.config.ts'),
        publicDir: folder,
        cacheDir: join(folder, 'vite'),
        logLevel: 'warn',
        server: { port: 0, host: '127.0.0.1' },
      });
      const page = await browser.newPage();
      page.setDefaultTimeout(100_000);
      /** Presses the button, and waits for a result or an error. */
      const outcome = async (fields: Readonly<Record<string, string>>): Promise<string> => {
        for (const [name, value] of Object.entries(fields)) await page.fill(`[name=${name}]`, value);
        await page.click('button[name=start]');
        const status = page.locator('#status').filter({ hasText: /per second|^[A-Z_]+: / });
        return (await status.textContent()) ?? '';
      };
      try {
        await server.listen();
        await page.goto(server.resolvedUrls?.local[0] ?? '');
        const written = await outcome({ prompt, temperature: '0', tokens: '12' });
        expect(written).toMatch(/^12 tokens \(length\), [\d.]+ per second; the state has \d+ bytes after \d+ tokens$/);
        const tokenizer = await loadTokenizer(join(folder, 'model'));
        expect(await page.locator('#text').textContent()).toBe(prompt + tokenizer.decode(greedy.slice(0, 12)));
        expect(await outcome({ url: '/t5-f32', prompt: 'It was' })).toMatch(/^12 tokens|tokens \(eos\)/);
        expect(await outcome({ url: 'data:,' })).toMatch(/^INPUT: /);
      } finally {
        await page.close();
        await server.close();
      }
    });

    it('writes the same on WebGPU', async ({ skip }) => {
      const gpu = await launchChromium({ gpu: true });
      try {
        await inPage(
          async (page) => {
            const { available, float16 } = await page.evaluate(() => globalThis.linnet.webGpuSupport());
            if (!available) {
              console.log('skipped: this Chromium has no WebGPU adapter');
              skip('this Chromium has no WebGPU adapter');
            }
            const count = 8;
            const { tokens } = await runIn(page, {}, count, 'gpu');
            expect(tokens).toEqual(greedy.slice(0, count));
            // Half precision rounds activations, so only its top-1 is held to that of float32.
            if (float16) expect((await runIn(page, {}, 1, 'exports/half')).tokens).toEqual(greedy.slice(0, 1));
            else await expect(runIn(page, {}, 1, 'exports/half')).rejects.toThrow(/float16, which this GPU does not/);
          },
          site.url,
          gpu,
        );
      } finally {
        await gpu.close();
      }
    });
  },
);
