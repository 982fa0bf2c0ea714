/** GGUF files in a page: read by ranges, they write what Node writes. Needs Chromium. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runTogether } from '../../src/engine/run-together.ts';
import { open } from '../../src/open/index.ts';
import { writeTinyGguf } from '../../bench/peers/tiny-gguf.ts';
import { golden } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { bundlePage, launchChromium, noChromium } from './chromium.ts';
import './page.ts';
import { type Site, serveSite } from './site.ts';

const prompt = 'The quick';
const tokens = [5, 9, 20, 3];

describe.skipIf(noChromium !== undefined)(
  `a GGUF file in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const page = suiteFolder();
    let site: Site;
    let browser: Awaited<ReturnType<typeof launchChromium>>;

    beforeAll(async () => {
      await bundlePage(fileURLToPath(new URL('.', import.meta.url)), page);
      const template = join(golden('gguf'), 'qwen35-q8_0', 'model.gguf');
      await mkdir(join(page, 'mtp'));
      await writeTinyGguf(join(page, 'mtp', 'model.gguf'), template, 'F32', undefined, { mtp: true });
      const whole = await readFile(join(golden('gguf'), 'llama-q4_0', 'model.gguf'));
      site = await serveSite({
        folders: { '': page, gguf: golden('gguf') },
        special: {
          '/gguf/llama-q4_0/model.gguf': (response) => response.writeHead(200).end(whole),
          '/gguf/lfm2-q8_0/model.gguf': (response) =>
            response.writeHead(206, { 'Content-Range': `bytes 0-99/${whole.length}` }).end(whole.subarray(0, 50)),
        },
      });
      browser = await launchChromium();
    }, 120_000);

    afterAll(async () => {
      await browser.close();
      await site[Symbol.asyncDispose]();
    });

    /** Greedy text of a prompt, and tokens after tokens; a refusal by its code. */
    async function inPage(name: string) {
      const tab = await browser.newPage();
      await tab.goto(`${site.url}index.html`);
      try {
        return await tab.evaluate(
          async ({ name, prompt, tokens }) => {
            const { LinnetError, MtpDrafter, open, runTogether, speculative } = globalThis.linnet;
            try {
              const model = await open(`/${name}/model.gguf`);
              const [ids] = await runTogether(await model.engine(), [
                { prompt: { tokens }, maxTokens: 12, ignoreEos: true },
              ]);
              let drafted: readonly number[] | undefined;
              if (model.hasMtp) {
                const method = speculative(new MtpDrafter(await model.mtp(), { least: 0 }));
                const job = { prompt: { tokens }, maxTokens: 12, ignoreEos: true, method };
                [{ tokens: drafted }] = await runTogether(await model.engine(), [job]);
              }
              const text = model.hasTokenizer ? await model.generate(prompt, { maxTokens: 8 }).text() : '';
              await model.dispose();
              return { tokens: ids.tokens, drafted, text, chat: model.template !== undefined, family: model.family };
            } catch (error) {
              return error instanceof LinnetError ? error.code : String(error);
            }
          },
          { name, prompt, tokens },
        );
      } finally {
        await tab.close();
      }
    }

    it.each(['gguf/tokenizer-gpt2', 'gguf/qwen2-q4_k', 'mtp'])('writes what Node writes: %s', async (name) => {
      const written = await inPage(name);
      const [, inGolden] = name.split('/');
      const folder = inGolden === undefined ? join(page, name) : join(golden('gguf'), inGolden);
      await using model = await open(join(folder, 'model.gguf'));
      const engine = await model.engine();
      const [ids] = await runTogether(engine, [{ prompt: { tokens }, maxTokens: 12, ignoreEos: true }]);
      const text = model.hasTokenizer ? await model.generate(prompt, { maxTokens: 8 }).text() : '';
      const { family } = model;
      const drafted = model.hasMtp ? ids.tokens : undefined;
      expect(model.hasMtp).toBe(name === 'mtp');
      expect(written).toEqual({ tokens: ids.tokens, drafted, text, chat: model.template !== undefined, family });
    });

    it('is refused from a server without ranges, or with other bytes', async () => {
      expect(await inPage('gguf/llama-q4_0')).toBe('CONFIG');
      expect(await inPage('gguf/lfm2-q8_0')).toBe('FORMAT');
      expect(await inPage('nothing')).toBe('NOT_FOUND');
    });
  },
);
