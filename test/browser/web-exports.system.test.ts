/** Exports of other types and kinds in a browser, quantized weights and T5, and the example page that opens them. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateToEnd } from '../decoding/generated.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { scratchFolder, suiteFolder } from '../scratch-folder.ts';
import { type BrowserSuite, openBrowserSuite, prompt, runIn } from './browser-suite.ts';
import { noChromium } from './chromium.ts';
import { openReady } from '../open/ready-model.ts';

/** Families whose layers are of several kinds. */
const hybrids = ['lfm2', 'gemma3_text', 'granitemoehybrid', 'qwen3_5'];

describe.skipIf(noChromium !== undefined)(
  `exports in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let suite: BrowserSuite;

    beforeAll(async () => {
      const subject = await augmentedTinyLlama();
      for (const dtype of ['w8a8', 'int4', 'mixed'] as const) {
        await writeExportedModel(join(folder, dtype), subject, { dtype });
      }
      for (const family of hybrids) {
        await saveTinyModel(join(folder, family), 1, family);
        for (const dtype of ['f32', 'w8a8'] as const) {
          await exportFolder(join(folder, family), join(folder, `${family}-${dtype}`), { dtype });
        }
      }
      await saveTinyModel(join(folder, 't5'), 1, 't5');
      for (const dtype of ['f32', 'w8a8', 'int4', 'mixed'] as const) {
        await exportFolder(join(folder, 't5'), join(folder, `t5-${dtype}`), { dtype });
      }
      suite = await openBrowserSuite(folder);
    }, 120_000);

    afterAll(() => suite[Symbol.asyncDispose]());

    it('opens T5 at the front door', async () => {
      const out = join(folder, 't5-f32');
      await using exported = await openReady(out, { threads: 1 });
      const source = (await loadTokenizer(out)).encode(prompt);
      const state = exported.engine.newState(await exported.engine.encode([...source, ...exported.model.eosIds]));
      const options = { promptTokens: [], maxTokens: 8, ignoreEos: true, state };
      const { tokens } = await generateToEnd(exported.engine, options);
      const outcome = await suite.inPage((page) =>
        page.evaluate(async (text) => {
          const model = await globalThis.linnet.open('exports/t5-f32', { kind: 'encoder-decoder' });
          const generated = model.generate(text, { maxTokens: 8, ignoreEos: true });
          await generated.text();
          const { kind, fingerprint } = model;
          await model.dispose();
          return { kind, fingerprint, tokens: generated.generation.tokens };
        }, prompt),
      );
      expect(outcome).toEqual({ kind: 'encoder-decoder', fingerprint: exported.fingerprint, tokens });
    });

    const ofHybrids = hybrids.flatMap((family) => [`${family}-f32`, `${family}-w8a8`]);
    const quantized = ['w8a8', 'int4', 'mixed', ...ofHybrids];
    it.each(quantized)('writes with %s weights what Node writes with them', async (dtype) => {
      const count = 12;
      const tokenizer = await loadTokenizer(join(folder, dtype));
      await using exported = await openReady(join(folder, dtype));
      // Kernels of pages round products of four bits otherwise: a text whose greedy tokens are ahead by 0.1 or more.
      const start = dtype === 'int4' ? 'In the' : prompt;
      const promptTokens = tokenizer.encode(start, { bos: true });
      const expected = await generateToEnd(exported.engine, { promptTokens, maxTokens: count, ignoreEos: true });
      const { tokens } = await suite.inPage((page) => runIn(page, {}, count, `exports/${dtype}`, start));
      expect(tokens).toEqual(expected.tokens);
    });

    it.each(['f32', 'w8a8', 'int4'] as const)(
      'drafts with the layer of multi-token prediction, as %s',
      async (dtype) => {
        const [from, out] = [join(await scratchFolder(), 'from'), join(folder, `mtp-${dtype}`)];
        await saveTinyModel(from, 2, 'qwen3_5_text', true);
        await exportFolder(from, out, { dtype, replace: true });
        const promptTokens = Array.from((await loadTokenizer(out)).encode(prompt, { bos: true }));
        const written = await suite.inPage((page) =>
          page.evaluate(
            async ({ url, tokens }) => {
              const { MtpDrafter, open, runTogether, SpeculationStatistics, speculative } = globalThis.linnet;
              const opened = await open(url);
              const layer = await opened.mtp();
              const statistics = new SpeculationStatistics();
              const method = speculative(new MtpDrafter(layer, { least: 0 }), { statistics });
              const job = { prompt: { tokens }, maxTokens: 24, ignoreEos: true };
              const engine = await opened.engine();
              const [plain] = await runTogether(engine, [job]);
              const [drafted] = await runTogether(engine, [{ ...job, method }]);
              await layer.dispose();
              await opened.dispose();
              return { plain: plain.tokens, drafted: drafted.tokens, nodes: statistics.summary.nodesPerStep };
            },
            { url: `exports/mtp-${dtype}`, tokens: promptTokens },
          ),
        );
        expect(written.drafted).toEqual(written.plain);
        expect(written.nodes).toBeGreaterThan(2);
        if (dtype === 'int4') return; // its kernels in pages round otherwise than Node's
        await using exported = await openReady(out);
        const { tokens } = await generateToEnd(exported.engine, { promptTokens, maxTokens: 24, ignoreEos: true });
        expect(written.drafted).toEqual(tokens);
      },
    );

    it.each(['f32', 'w8a8', 'int4', 'mixed'] as const)(
      'reads a text and generates another: T5 as %s',
      async (dtype) => {
        const out = join(folder, `t5-${dtype}`);
        await using exported = await openReady(out, { threads: 1 });
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
        const found = await suite.inPage((page) =>
          page.evaluate(
            async ({ url, texts }) => {
              const { LinnetError, lookupDrafter, open, runTogether, speculative } = globalThis.linnet;
              const opened = await open(url, { kind: 'encoder-decoder' });
              const { tokenizer, description: model } = opened;
              const engine = await opened.engine();
              const plain: (readonly number[])[] = [];
              const drafted: (readonly number[])[] = [];
              const job = { prompt: { tokens: [model.startId] }, maxTokens: 12, ignoreEos: true };
              for (const text of texts) {
                const encoded = await engine.encode([...tokenizer.encode(text), ...model.eosIds]);
                plain.push((await runTogether(engine, [{ ...job, state: engine.newState(encoded) }]))[0].tokens);
                const method = speculative(lookupDrafter());
                const state = engine.newState(encoded);
                drafted.push((await runTogether(engine, [{ ...job, method, state }]))[0].tokens);
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
      const page = await suite.browser.newPage();
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
        expect(await page.locator('#text').textContent()).toBe(prompt + tokenizer.decode(suite.greedy.slice(0, 12)));
        expect(await outcome({ url: '/t5-f32', prompt: 'It was' })).toMatch(/^12 tokens|tokens \(eos\)/);
        expect(await outcome({ url: 'data:,' })).toMatch(/^INPUT: /);
      } finally {
        await page.close();
        await server.close();
      }
    });
  },
);
