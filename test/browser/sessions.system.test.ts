/** Sessions that a browser keeps: they outlive the page, are the files of Node, and are checked when they are loaded. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeSession, encodeSession } from '../../src/decoding/state/session-file.ts';
import { open } from '../../src/open/index.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { type BrowserSuite, maxTokens, openBrowserSuite, prompt, sampling } from './browser-suite.ts';
import { noChromium } from './chromium.ts';
import type { Session } from '../../src/web.ts';

declare global {
  var grownText: Session;
}

describe.skipIf(noChromium !== undefined)(
  `sessions in Chromium${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    let suite: BrowserSuite;
    beforeAll(async () => {
      suite = await openBrowserSuite(folder);
    }, 120_000);
    afterAll(() => suite[Symbol.asyncDispose]());

    /** Half of the text, greedy and sampled, saved under two names. */
    const saveHalves = (page: Page): Promise<void> =>
      page.evaluate(
        async ({ prompt, count, sampling }) => {
          const model = await globalThis.linnet.open('/model');
          for (const [name, sampler] of Object.entries({ 'greedy/ü': {}, '..': sampling })) {
            const session = model.session();
            await session.continue(prompt, { maxTokens: count, ignoreEos: true, ...sampler }).text();
            await session.save(name);
          }
          await model.dispose();
        },
        { prompt, count: maxTokens / 2, sampling },
      );

    it('outlive a reload, with the same next tokens', async () => {
      const went = await suite.inPage(async (page) => {
        await saveHalves(page);
        await page.reload();
        await page.waitForFunction('globalThis.linnet !== undefined');
        return page.evaluate(
          async ({ count, sampling }) => {
            const { deleteSession, open, savedSessions } = globalThis.linnet;
            const model = await open('/model');
            const goOn = async (name: string, sampler: object) => {
              const session = model.session();
              await session.load(name);
              await session.continue('', { maxTokens: count, ignoreEos: true, ...sampler }).text();
              return session.tokens.slice(-2 * count);
            };
            const names = (await savedSessions()).map(({ name }) => name);
            const texts = { greedy: await goOn('greedy/ü', {}), sampled: await goOn('..', sampling) };
            await deleteSession('..');
            return { names, ...texts, left: (await savedSessions()).map(({ name }) => name) };
          },
          { count: maxTokens / 2, sampling },
        );
      });
      expect(went).toEqual({
        names: ['..', 'greedy/ü'],
        greedy: suite.greedy,
        sampled: suite.sampled,
        left: ['greedy/ü'],
      });
    });

    it('are the files of Node, byte for byte, in both directions', async () => {
      await using model = await open(join(folder, 'model'), { threads: 1 });
      const engine = await model.engine();
      const { fingerprint } = model;
      const again = async (bytes: Uint8Array): Promise<Uint8Array> =>
        encodeSession({ ...(await decodeSession(bytes, engine, fingerprint)), fingerprint });
      const session = model.session();
      await session.continue(prompt, { maxTokens: 24, ignoreEos: true, speculate: 'recycle', ...sampling }).text();
      const path = join(folder, 'node.session');
      await session.save(path);
      const ours = await again(await readFile(path));
      expect(Buffer.from(ours).toString('latin1')).toContain('"learned.successors"');
      const { theirs, back } = await suite.inPage(async (page) => {
        await saveHalves(page);
        return page.evaluate(
          async (bytes) => {
            const { keepSession, open, savedSession } = globalThis.linnet;
            await keepSession('of Node', new Uint8Array(bytes));
            const session = (await open('/model')).session();
            await session.load('of Node');
            await session.save('again');
            return { theirs: [...(await savedSession('..'))], back: [...(await savedSession('again'))] };
          },
          [...ours],
        );
      });
      expect(Buffer.from(back).equals(ours)).toBe(true);
      expect(Buffer.from(theirs).equals(await again(Uint8Array.from(theirs)))).toBe(true);
    });

    it('are refused, typed, where they are damaged, of another model, or not there', async () => {
      const codes = await suite.inPage(async (page) => {
        await saveHalves(page);
        return page.evaluate(async () => {
          const { keepSession, LinnetError, open, savedSession } = globalThis.linnet;
          const bytes = await savedSession('..');
          const model = await open('/model');
          const session = model.session();
          await session.load('..');
          const before = session.text;
          const codeOf = async (changed: Uint8Array<ArrayBuffer> | undefined): Promise<string> => {
            if (changed !== undefined) await keepSession('hostile', changed);
            try {
              await session.load(changed === undefined ? 'none' : 'hostile');
              return 'loaded';
            } catch (error) {
              return error instanceof LinnetError ? error.code : String(error);
            }
          };
          const text = new TextDecoder('latin1').decode(bytes);
          const at = text.indexOf(model.fingerprint);
          const changedAt = (place: number): Uint8Array<ArrayBuffer> => {
            const changed = bytes.slice();
            changed[place] ^= 1;
            return changed;
          };
          const found: Record<string, string> = {
            none: await codeOf(undefined),
            empty: await codeOf(new Uint8Array(0)),
            cut: await codeOf(bytes.slice(0, -5)),
            other: await codeOf(changedAt(at)),
          };
          let place = 1;
          const damaged = new Set<string>();
          for (let turn = 0; turn < 200; turn++) {
            place = (place * 48_271) % 2_147_483_647;
            damaged.add(await codeOf(changedAt(place % bytes.length)));
          }
          return { ...found, damaged: [...damaged].sort(), kept: session.text === before };
        });
      });
      expect(codes).toMatchObject({ none: 'NOT_FOUND', empty: 'FORMAT', cut: 'FORMAT', other: 'MISMATCH', kept: true });
      expect(codes.damaged.filter((code) => code !== 'FORMAT' && code !== 'MISMATCH')).toEqual([]);
    }, 60_000);

    it('are listed, a thousand of them', async () => {
      const { count, times } = await suite.inPage((page) =>
        page.evaluate(async () => {
          const { keepSession, savedSessions } = globalThis.linnet;
          for (let part = 0; part < 1000; part += 50) {
            const names = Array.from({ length: 50 }, (_, index) => `session ${part + index}`);
            await Promise.all(names.map((name) => keepSession(name, new Uint8Array(64))));
          }
          const times: number[] = [];
          let count = 0;
          for (let turn = 0; turn < 5; turn++) {
            const started = performance.now();
            count = (await savedSessions()).length;
            times.push(performance.now() - started);
          }
          return { count, times };
        }),
      );
      console.log(`1,000 sessions listed in ${times.map((time) => time.toFixed(0)).join(', ')} ms`);
      expect(count).toBe(1000);
      // 100 ms on a machine with nothing else to do.
      expect(Math.min(...times)).toBeLessThan(1000);
    }, 120_000);

    it('keep the memory of the page as it is, from 1,000 tokens to 32,000', async () => {
      const { heaps, states, lengths } = await suite.inPage(async (page) => {
        await page.addInitScript(`
          globalThis.memories = [];
          WebAssembly.Memory = class extends WebAssembly.Memory {
            constructor(size) {
              super(size);
              memories.push(this);
            }
          };
        `);
        await page.reload();
        await page.waitForFunction('globalThis.linnet !== undefined');
        const debug = await page.context().newCDPSession(page);
        /** Of JavaScript, and of WebAssembly. */
        const measured = async (): Promise<number> => {
          await debug.send('HeapProfiler.collectGarbage');
          const { usedSize } = await debug.send('Runtime.getHeapUsage');
          const engine = await page.evaluate<number>(
            'memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)',
          );
          expect(engine).toBeGreaterThan(1 << 20);
          return usedSize + engine;
        };
        const heaps: number[] = [];
        const states: number[] = [];
        const lengths: number[] = [];
        await page.evaluate(async () => {
          const model = await globalThis.linnet.open('/model');
          // Code that is compiled while it runs is no memory of the text.
          const others = Int32Array.from({ length: 4000 }, (_, index) => 3 + ((index * 6007) % 250));
          await model.session().continueTokens(others, { maxTokens: 2 }).text();
          globalThis.grownText = model.session();
        });
        for (const added of [1000, 31_000]) {
          const { bytes, length } = await page.evaluate(async (count) => {
            const text = globalThis.grownText;
            const tokens = Int32Array.from({ length: count }, (_, index) => 3 + ((index * 7919) % 250));
            await text.continueTokens(tokens, { maxTokens: 2, ignoreEos: true }).text();
            return { bytes: text.bytes, length: text.tokens.length };
          }, added);
          states.push(bytes);
          lengths.push(length);
          heaps.push(await measured());
        }
        return { heaps, states, lengths };
      });
      console.log(`heap ${heaps.join(', ')} bytes at ${lengths.join(', ')} tokens`);
      expect(lengths).toEqual([1002, 32_004]);
      expect(states[1]).toBe(states[0]);
      expect(Math.abs(heaps[1] / heaps[0] - 1)).toBeLessThan(0.02);
    }, 120_000);
  },
);
