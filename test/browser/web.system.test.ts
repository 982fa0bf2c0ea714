/**
 * The entry for browsers in a real one: a bundled page opens an exported model over HTTP and must generate what Node does.
 * Needs Chromium; WebGPU runs on its driver that computes on the CPU.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { type BrowserSuite, maxTokens, openBrowserSuite, prompt, runIn, sampling } from './browser-suite.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { serveSite } from './site.ts';
import { openReady } from '../open/ready-model.ts';

describe.skipIf(noChromium !== undefined)(
  `in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let suite: BrowserSuite;

    beforeAll(async () => {
      const subject = await augmentedTinyLlama();
      const gpu = join(folder, 'gpu');
      await writeExportedModel(gpu, subject, { dtype: 'f32', device: 'webgpu' });
      await writeExportedModel(join(folder, 'half'), subject, { dtype: 'f16', device: 'webgpu' });
      suite = await openBrowserSuite(folder, { folders: { gpu } });
    }, 120_000);

    afterAll(() => suite[Symbol.asyncDispose]());

    it('writes what Node writes, greedy and sampled, event by event', async () => {
      const written = await suite.inPage((page) =>
        page.evaluate(
          async ({ prompt, sampling, maxTokens }) => {
            const { open, Runner, Sampler } = globalThis.linnet;
            const model = await open('/model');
            const [engine, { tokenizer }] = [await model.engine(), model];
            const promptTokens = tokenizer.encode(prompt, { bos: true });
            const write = async (sampler?: InstanceType<typeof Sampler>) => {
              const tokens: number[] = [];
              let text = '';
              let finish = '';
              const job = { prompt: { tokens: Array.from(promptTokens) }, maxTokens, ignoreEos: true };
              for await (const event of new Runner(engine, { tokenizer }).submit({ ...job, sampling: sampler })) {
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
      expect(suite.greedy).toHaveLength(maxTokens);
      expect(suite.sampled).not.toEqual(suite.greedy);
      expect(written.greedy).toEqual({ tokens: suite.greedy, finish: 'length', whole: true });
      expect(written.sampled).toEqual({ tokens: suite.sampled, finish: 'length', whole: true });
    });

    it('opens at the front door, with sessions in memory', async () => {
      const outcome = await suite.inPage((page) =>
        page.evaluate(
          async ({ prompt, maxTokens }) => {
            const { open } = globalThis.linnet;
            const model = await open('/model');
            const generated = model.generate(prompt, { maxTokens, ignoreEos: true });
            await generated.text();
            const session = model.session();
            await session.continue(prompt, { maxTokens: maxTokens / 2, ignoreEos: true }).text();
            await session.continue('', { maxTokens: maxTokens / 2, ignoreEos: true }).text();
            const { kind, family, fingerprint } = model;
            await model.dispose();
            return {
              ...{ kind, family, fingerprint },
              tokens: generated.generation.tokens,
              session: session.tokens,
            };
          },
          { prompt, maxTokens },
        ),
      );
      await using exported = await openReady(join(folder, 'model'));
      expect(outcome).toMatchObject({ kind: 'causal', family: 'llama', tokens: suite.greedy });
      expect(outcome.fingerprint).toBe(exported.fingerprint);
      expect(outcome.session.slice(-maxTokens)).toEqual(suite.greedy);
    });

    it('speculates exactly, and forks states', async () => {
      const outcome = await suite.inPage((page) =>
        page.evaluate(
          async ({ prompt, maxTokens }) => {
            const { lookupDrafter, open, runTogether, SpeculationStatistics, speculative } = globalThis.linnet;
            const opened = await open('/model/');
            const [engine, { tokenizer }] = [await opened.engine(), opened];
            const promptTokens = tokenizer.encode(prompt, { bos: true });
            const statistics = new SpeculationStatistics();
            const job = { prompt: { tokens: Array.from(promptTokens) }, maxTokens, ignoreEos: true };
            const method = speculative(lookupDrafter(), { statistics });
            const [looked] = await runTogether(engine, [{ ...job, method }]);
            const state = engine.newState();
            await engine.prefill(state, promptTokens.subarray(0, -1));
            const bytes = state.bytes;
            const [fork] = await runTogether(engine, [{ ...job, state: state.fork() }]);
            const [original] = await runTogether(engine, [{ ...job, state }]);
            await opened.dispose();
            const afterwards = await runTogether(engine, [job]).then(
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
      expect(outcome.looked).toEqual(suite.greedy);
      expect(outcome.steps).toBeLessThan(maxTokens);
      expect(outcome.fork).toEqual(suite.greedy);
      expect(outcome.original).toEqual(suite.greedy);
      expect(outcome.grown).toBe(0);
      expect(outcome.afterwards).toBe('RUNTIME');
    });

    it('computes with threads where the page is isolated, and without where it is not', async () => {
      const threaded = await suite.inPage((page) => runIn(page, { threads: 2 }));
      expect(threaded).toEqual({ tokens: suite.greedy, isolated: true, workers: 1 });
      const single = await suite.inPage((page) => runIn(page, { threads: 1 }));
      expect(single).toEqual({ tokens: suite.greedy, isolated: true, workers: 0 });
      await using open = await serveSite({
        folders: { '': join(folder, 'page'), model: join(folder, 'model') },
        isolated: false,
      });
      const unshared = await suite.inPage((page) => runIn(page, { threads: 2 }), open.url);
      expect(unshared).toEqual({ tokens: suite.greedy, isolated: false, workers: 0 });
    });

    it('writes the same on WebGPU', async ({ skip }) => {
      const gpu = await launchChromium({ gpu: true });
      try {
        await suite.inPage(
          async (page) => {
            const { available, float16, software } = await page.evaluate(() => globalThis.linnet.webGpuSupport());
            if (!available) {
              console.log('skipped: this Chromium has no WebGPU adapter');
              skip('this Chromium has no WebGPU adapter');
            }
            expect(software).toBe(true); // SwiftShader
            const count = 8;
            const { tokens } = await runIn(page, {}, count, 'gpu');
            expect(tokens).toEqual(suite.greedy.slice(0, count));
            // Half precision rounds activations, so only its top-1 is held to that of float32.
            if (float16) expect((await runIn(page, {}, 1, 'exports/half')).tokens).toEqual(suite.greedy.slice(0, 1));
            else await expect(runIn(page, {}, 1, 'exports/half')).rejects.toThrow(/float16, which this GPU does not/);
          },
          suite.site.url,
          gpu,
        );
      } finally {
        await gpu.close();
      }
    });
  },
);
