/**
 * The page of runs in a real browser, before folders that grow: it follows them, compares them, asks nobody else for anything,
 * and has no fault that axe finds. Screenshots are left in LINNET_SCREENSHOTS, where that is set.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type FolderLock, lockFolder } from '../../src/files/folder-lock.ts';
import { openRun, type Run } from '../../src/report/record.ts';
import { type RunningDashboard, startDashboard } from '../../src/runs/server.ts';
import { readPage } from '../../src/serving/http/page.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessible, openQuietPage, takePicture } from './quiet-page.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const model = { model_type: 'llama', num_hidden_layers: 5, hidden_size: 128 };

/** Steps of a training, from one to another. */
function logSteps(run: Run, from: number, to: number, { offset = 0 } = {}): void {
  for (let update = from; update <= to; update++) {
    const loss = 2 + offset + 3 * Math.exp(-update / 40) + 0.1 * Math.sin(update * 12.9898);
    const learningRate = 1e-3 * (1 - update / 200);
    run.log({ update, loss, gradientNorm: 1 + 1 / update, learningRate, tokens: 1024 * update, seconds: 0.5 });
    if (update % 20 === 0) run.log({ update, heldOutLoss: 2.1 + offset + 3 * Math.exp(-update / 40) });
  }
}

describe.skipIf(noChromium !== undefined)(
  `the page of runs${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const folder = suiteFolder();
    const runs = join(folder, 'runs');
    let browser: Browser;
    let dashboard: RunningDashboard;
    let growing: Run;
    let lock: FolderLock;

    beforeAll(async () => {
      const out = join(folder, 'page');
      await promisify(execFile)(process.execPath, ['scripts/build-web.mjs', 'runs', out], { cwd: root });
      const command = ['linnet', 'finetune', 'runs/augmented', '--data', 'two words.txt', '--out', 'runs/tuned'];
      const configuration = { model, settings: { steps: 200 }, read: { rows: 9, summary: '12 documents' } };
      const done = await openRun(join(runs, 'softmax.run'), { command, configuration, seed: 1 });
      logSteps(done, 1, 200, { offset: 0.2 });
      done.report({ loss: 2.25, heldOutLoss: 2.31, steps: 200, tokens: 204_800, tokensPerSecond: 2048 });
      await done.finish('finished');
      const conversion = await openRun(join(runs, 'window.run'), {
        command: ['linnet', 'convert', 'assets/tiny-llama', '--out', 'runs/window'],
        configuration: { model },
      });
      conversion.log({
        stage: 'original',
        perplexity: 79.3,
        mixer: 'window of groups of 64 with a memory that is learned',
      });
      conversion.log({ stage: 'linearize', perplexity: 85.1, kept: true });
      for (let update = 1; update <= 30; update++) {
        conversion.log({ stage: 'transfer', update, loss: 40 / update });
        conversion.log({ stage: 'logits', update, loss: 1 / update });
      }
      conversion.log({ stage: 'logits', perplexity: 78.9, kept: true });
      conversion.log({ stage: 'long', perplexity: 79.6, kept: false });
      await conversion.finish('finished');
      await mkdir(join(runs, 'hostile'));
      await writeFile(join(runs, 'hostile/run.json'), '{"format":"<img src=x onerror=alert(1)>"}');
      growing = await openRun(join(runs, 'augmented.run'), { command, configuration, seed: 2 });
      lock = await lockFolder(growing.folder);
      logSteps(growing, 1, 40);
      dashboard = await startDashboard(runs, { port: 0, page: await readPage({ folders: [out] }) });
      browser = await launchChromium();
    }, 120_000);

    afterAll(async () => {
      await browser.close();
      await dashboard[Symbol.asyncDispose]();
      await growing.finish('interrupted');
      await lock[Symbol.asyncDispose]();
    });

    it('answers this machine only, with headers that let the page load nothing else', async () => {
      const answer = await fetch(`${dashboard.url}/`);
      expect(answer.headers.get('content-security-policy')).toMatch(/^default-src 'self'; script-src 'self'; /);
      expect(answer.headers.get('content-security-policy')).not.toMatch(/unsafe|\*/);
      expect(await answer.text()).not.toMatch(/<style|style=|<script(?![^>]*src=)/);
      const list = await fetch(`${dashboard.url}/api/runs`);
      expect(list.headers.get('content-security-policy')).toMatch(/^default-src 'self'/);
      const { runs: found } = z.object({ runs: z.array(z.object({ id: z.string() })) }).parse(await list.json());
      expect(found).toHaveLength(3);
      const curves = await fetch(`${dashboard.url}/api/runs/${found[1].id}`);
      const headers = { 'if-none-match': curves.headers.get('etag') ?? '' };
      expect((await fetch(`${dashboard.url}/api/runs/${found[1].id}`, { headers })).status).toBe(304);
      expect((await fetch(`${dashboard.url}/api/runs/..%2f..%2fetc`)).status).toBe(404);
      expect((await fetch(`${dashboard.url}/api/runs/0123456789abcdef`)).status).toBe(404);
    });

    it('follows a run, compares, shows stages, is whole by keyboard and to axe, in both schemes and narrow', async () => {
      await using opened = await openQuietPage(browser, dashboard.url, { patience: 30_000 });
      const { page: tab, faults } = opened;
      const row = (name: string) => tab.getByRole('row').filter({ hasText: name });
      const loss = tab.getByRole('region', { name: 'Loss, nats per token' });
      // The one that runs is chosen by itself.
      await row('augmented.run').getByRole('checkbox', { checked: true }).waitFor();
      expect(await row('augmented.run').innerText()).toMatch(/running[^]*40\/200/);
      expect(await loss.innerText()).toContain('augmented.run: ');

      logSteps(growing, 41, 120);
      await expect.poll(() => row('augmented.run').innerText(), { timeout: 20_000 }).toMatch(/120\/200/);
      expect(await row('augmented.run').getByRole('progressbar').getAttribute('value')).toBe('0.6');

      await row('softmax.run').getByRole('checkbox').focus();
      await tab.keyboard.press('Space');
      await expect
        .poll(() => loss.innerText(), { timeout: 20_000 })
        .toMatch(/augmented\.run: [^]*softmax\.run: |softmax\.run: [^]*augmented\.run: /);
      await tab.getByRole('region', { name: 'Held-out perplexity' }).waitFor();
      await tab.getByRole('region', { name: 'Tokens per second' }).waitFor();

      await row('window.run').getByRole('checkbox').check();
      const stages = tab.getByRole('region', { name: 'window.run: stages' });
      await stages.waitFor();
      expect(await stages.innerText()).toMatch(/long[^]*79\.60[^]*\+0\.38 %[^]*undone/);
      // Losses of different quantities do not share an axis.
      expect(await loss.innerText()).not.toContain('window.run');
      const named = (name: string) => tab.getByRole('region', { name });
      expect(await named('Squared error of mixed values').innerText()).toContain('window.run transfer');
      expect(await named('KL divergence, nats per token').innerText()).toContain('window.run logits');
      // The mixer that came out, not the one that went in.
      expect(await row('window.run').first().innerText()).toContain('window of groups of 64');
      await tab.getByText('1 folder cannot be read').click();
      expect(await tab.getByText(/run\.json is not a valid record/).innerText()).toContain('hostile');

      await tab.getByRole('button', { name: 'Perplexity', exact: true }).click();
      expect(await tab.getByRole('row').nth(1).innerText()).toContain('augmented.run');
      await tab.getByRole('button', { name: 'Perplexity', exact: true }).click();
      expect(await tab.getByRole('row').nth(1).innerText()).toContain('window.run');
      const made = tab.locator('details').filter({ hasText: 'softmax.run' });
      await made.getByText('softmax.run', { exact: true }).click();
      expect(await made.getByText("--data 'two words.txt'").isVisible()).toBe(true);

      for (const width of [1280, 390]) {
        await tab.setViewportSize({ width, height: 900 });
        const isCut = await tab.evaluate(
          `(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.querySelector('[aria-label="Runs"]'))`,
        );
        expect(isCut).toBe(width < 1280);
        const rows = await tab.getByRole('region', { name: 'Runs' }).getByRole('row').all();
        for (const one of rows) expect((await one.boundingBox())?.height).toBeLessThan(width < 1280 ? 50 : 100);
        for (const colorScheme of ['light', 'dark'] as const) {
          await tab.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          await takePicture(tab, `runs-${colorScheme}-${width}`);
          await expectAccessible(tab, `${colorScheme}, ${width}`);
        }
        expect(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      }
      expect(faults).toEqual([]);
    }, 120_000);
  },
);
