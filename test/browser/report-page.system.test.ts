/**
 * A report in a real browser, opened as a file: its script may run and sorts, nothing is asked for, axe finds no fault, and no
 * text is smaller than 10 pixels on a phone.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { barChart, lineChart } from '../../src/report/charts/chart.ts';
import { heatMap } from '../../src/report/charts/heat-map.ts';
import { writeReport } from '../../src/report/html.ts';
import { makeTable } from '../../src/report/table.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { launchChromium, noChromium } from './chromium.ts';
import { expectAccessible, takePicture } from './quiet-page.ts';

/** Heights in pixels of the letters of all texts that are seen, in charts as they are scaled. */
const smallestText = `Math.min(...[...document.querySelectorAll('main *')]
  .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== ''))
  .map((element) => parseFloat(getComputedStyle(element).fontSize) * (element.ownerSVGElement?.getScreenCTM().a ?? 1)))`;

async function exampleReport(path: string): Promise<void> {
  const points = (offset: number) => Array.from({ length: 30 }, (_, x) => ({ x, y: offset + 10 / (x + 2) }));
  const methods = ['softmax', 'local + convolution', 'augmented'].map((name, at) => ({ name, perplexity: 80 - at }));
  const perplexities = methods.map(({ perplexity }) => perplexity);
  const lines = await lineChart({
    title: 'Training loss of three methods, one of which runs on another',
    x: { label: 'optimizer steps' },
    y: { label: 'loss', unit: 'nats' },
    lines: methods.map(({ name }, at) => ({ name, points: points(at === 2 ? 2 : 0) })),
  });
  const dots = await barChart({
    title: 'Perplexity',
    categories: methods.map(({ name }) => name),
    value: { label: 'perplexity' },
    marks: 'dots',
    horizontal: true,
    bars: ['plain', 'other'].map((name, at) => ({
      name,
      values: perplexities.map((value) => value - at),
      deviations: [0.3, 0.2, undefined],
    })),
  });
  const bars = await barChart({
    title: 'Share',
    categories: ['1', '2', '3'],
    value: { label: 'share', unit: '%' },
    bars: [{ name: 'accepted', values: [71, 40, 22] }],
  });
  const map = heatMap({
    ...{ title: 'Recall', columns: ['1K', '2K', '4K'], rows: ['0', '0.5', '1'], across: 'length', down: 'depth' },
    panels: ['a', 'b', 'c'].map((name) => ({ name, shares: [0.1, 0.5, 0.9].map((share) => [share, 1 - share, 0.5]) })),
  });
  const table = makeTable(
    [
      { header: 'method', value: (row: (typeof methods)[number]) => row.name },
      { header: 'perplexity', value: ({ perplexity }) => `${perplexity} ± 1`, sortBy: ({ perplexity }) => perplexity },
    ],
    methods,
  );
  await writeReport(path, {
    title: 'Example',
    subtitle: 'Of everything that a report holds',
    command: "linnet generate --prompt 'Call me'",
    sections: [
      { title: 'Charts', blocks: [lines, dots, bars, map].map((chart) => ({ kind: 'chart' as const, chart })) },
      { title: 'Table', blocks: [{ kind: 'table', table, caption: 'Mean ± deviation.' }] },
      {
        title: 'Text',
        blocks: [
          { kind: 'preformatted', text: 'Call me Ishmael.' },
          { kind: 'facts', facts: [['a', 'b']] },
        ],
      },
    ],
  });
}

describe.skipIf(noChromium !== undefined)(
  `a report${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    const file = join(suiteFolder(), 'report.html');
    let browser: Browser;

    beforeAll(async () => {
      await exampleReport(file);
      browser = await launchChromium();
    });

    afterAll(() => browser.close());

    it('sorts its tables, is whole to axe in both schemes, on a phone and printed', async () => {
      const { size } = await stat(file);
      expect(size).toBeLessThan(1 << 20);
      const context = await browser.newContext({ viewport: { width: 1000, height: 900 } });
      const tab = await context.newPage();
      const complaints: string[] = [];
      const requests: string[] = [];
      tab.on('console', (message) => complaints.push(message.text()));
      tab.on('pageerror', (error) => complaints.push(error.message));
      tab.on('request', (request) => requests.push(request.url()));
      const url = pathToFileURL(file).href;
      await tab.goto(url);
      const firstCell = (): Promise<string> => tab.locator('tbody tr').first().innerText();
      expect(await firstCell()).toContain('softmax');
      await tab.getByRole('button', { name: 'perplexity' }).focus();
      await tab.keyboard.press('Enter');
      expect(await firstCell()).toContain('augmented');
      expect(await tab.getByRole('columnheader', { name: 'perplexity' }).getAttribute('aria-sort')).toBe('ascending');
      await tab.keyboard.press('Enter');
      expect(await firstCell()).toContain('softmax');

      for (const width of [1000, 390]) {
        await tab.setViewportSize({ width, height: 900 });
        for (const colorScheme of ['light', 'dark'] as const) {
          await tab.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          await takePicture(tab, `report-${colorScheme}-${width}`);
          await expectAccessible(tab, `${colorScheme}, ${width}`);
        }
        expect(await tab.evaluate(smallestText)).toBeGreaterThanOrEqual(10);
        expect(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      }
      // Every chart is seen once, whatever the width.
      expect(await tab.getByRole('img').count()).toBe(4);
      await tab.emulateMedia({ media: 'print', colorScheme: 'dark' });
      expect(await tab.evaluate('getComputedStyle(document.body).color')).toBe('rgb(29, 33, 41)');
      expect(complaints).toEqual([]);
      expect(requests).toEqual([url]);
      await context.close();
    });
  },
);
