import { describe, expect, it } from 'vitest';
import type { Chart } from './chart-renderer.ts';
import { estimateTextWidth, seriesStyle } from './chart-style.ts';
import { barChart, lineChart } from './chart.ts';
import type { ChartPoint } from './chart-description.ts';
import { formatBytes } from '../quantities.ts';

const HOSTILE = `</text></svg><script>alert("1")</script>&'{a|b}\u0000\ud800`;

/** The texts of a picture in order of drawing, unescaped far enough to compare. */
function texts(chart: Chart): string[] {
  return [...chart.svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
}

/** Elements that carry a colour, as drawn: strokes of lines, fills of bars and areas. */
function coloured(chart: Chart, attribute: 'fill' | 'stroke', colour: string): string[] {
  return [...chart.svg.matchAll(/<(?:path|polygon) [^>]*>/g)]
    .map(([tag]) => tag)
    .filter((tag) => tag.includes(`${attribute}="${colour}"`));
}

const square: readonly ChartPoint[] = [1, 2, 4, 8].map((x) => ({ x, y: x * x }));
const axes = { x: { label: 'context', unit: 'tokens' }, y: { label: 'time' } } as const;

describe('lineChart', () => {
  it('shows title, names, labels with units and ticks', async () => {
    const chart = await lineChart({
      ...axes,
      title: 'Time',
      lines: [
        { name: 'softmax', points: square },
        { name: 'augmented', points: square },
      ],
    });
    expect(texts(chart)).toEqual(
      expect.arrayContaining(['Time', 'softmax', 'augmented', 'context (tokens)', 'time', '60']),
    );
    expect(chart.svg).toMatch(/^<svg role="img" aria-label="Time" width="720" height="360" /);
  });

  it('draws the data: a line through all points, highest value on top', async () => {
    const chart = await lineChart({ ...axes, lines: [{ name: 'a', points: square }] });
    const [line] = coloured(chart, 'stroke', seriesStyle(0).colour);
    const numbers = [...(/ d="([^"]*)"/.exec(line)?.[1].matchAll(/-?\d+(?:\.\d+)?/g) ?? [])].map(([text]) =>
      Number(text),
    );
    const columns = numbers.filter((_, at) => at % 2 === 0);
    const rows = numbers.filter((_, at) => at % 2 === 1);
    expect(columns).toHaveLength(4);
    // Equal steps in value are equal steps in pixels: x = 1, 2, 4, 8 and y = 1, 4, 16, 64.
    const perX = (columns[3] - columns[0]) / 7;
    const perY = (rows[0] - rows[3]) / 63;
    expect(columns[1] - columns[0]).toBeCloseTo(perX, 0);
    expect(columns[2] - columns[1]).toBeCloseTo(2 * perX, 0);
    expect(rows[0] - rows[1]).toBeCloseTo(3 * perY, 0);
    expect(rows[1] - rows[2]).toBeCloseTo(12 * perY, 0);
    expect(perY).toBeGreaterThan(0);
  });

  it('has powers of the base as ticks of logarithmic axes, spelled as asked', async () => {
    const chart = await lineChart({
      x: { label: 'context', scale: 'log2' },
      y: { label: 'state', scale: 'log10', format: formatBytes },
      lines: [
        {
          name: 'a',
          points: [
            { x: 512, y: 10 },
            { x: 16384, y: 1000 },
          ],
        },
      ],
    });
    expect(texts(chart)).toEqual(expect.arrayContaining(['512', '1K', '2K', '16K', '10 B', '100 B', '1000 B']));
  });

  it('starts at zero only where told', async () => {
    const points = [100, 101, 102].map((y, x) => ({ x, y }));
    const from = async (fromZero: boolean): Promise<string[]> =>
      texts(
        await lineChart({
          x: { label: 'x', format: () => '' },
          y: { label: 'y', fromZero },
          lines: [{ name: 'a', points }],
        }),
      );
    expect(await from(true)).toContain('0');
    expect(await from(false)).not.toContain('0');
  });

  it('leaves a gap where a value is not finite', async () => {
    const points = [1, 2, NaN, Infinity, 3, 4].map((y, x) => ({ x, y }));
    const chart = await lineChart({ ...axes, lines: [{ name: 'a', points }] });
    const [line] = coloured(chart, 'stroke', seriesStyle(0).colour);
    expect(/ d="([^"]*)"/.exec(line)?.[1].match(/M/g)).toHaveLength(2);
    expect(chart.svg).not.toMatch(/NaN|Infinity/);
  });

  it('draws spreads as bars or as one band, where both ends are known', async () => {
    const points = [1, 2, 3].map((x) => ({ x, y: x, low: x - 0.5, high: x === 2 ? undefined : x + 0.5 }));
    const { colour } = seriesStyle(0);
    const bars = await lineChart({ ...axes, lines: [{ name: 'a', points }] });
    const band = await lineChart({ ...axes, lines: [{ name: 'a', points, spread: 'band' }] });
    const plain = await lineChart({ ...axes, lines: [{ name: 'a', points: points.map(({ x, y }) => ({ x, y })) }] });
    // Two points with both ends, each a line and two caps.
    expect(coloured(bars, 'stroke', colour)).toHaveLength(coloured(plain, 'stroke', colour).length + 6);
    expect(coloured(band, 'fill', colour)).toHaveLength(coloured(plain, 'fill', colour).length + 1);
  });

  it.each([
    ['no lines', { ...axes, lines: [] }, /no lines/],
    ['an x that is not finite', { ...axes, lines: [{ name: 'a', points: [{ x: NaN, y: 1 }] }] }, /x is NaN/],
    [
      'zero on a logarithmic axis',
      { x: axes.x, y: { label: 'y', scale: 'log10' }, lines: [{ name: 'a', points: [{ x: 1, y: 0 }] }] } as const,
      /y is 0 at x = 1 on a logarithmic axis/,
    ],
  ])('refuses %s', async (_, description, message) => {
    await expect(lineChart(description)).rejects.toThrow(message);
  });
});

describe('barChart', () => {
  it('draws values that differ by little as dots, on an axis that says that it is cut', async () => {
    const chart = { categories: ['before', 'after'], value: { label: 'perplexity' } };
    const bars = [{ name: 'a', values: [79.3, 79.1] }];
    const dots = await barChart({ ...chart, bars, marks: 'dots' });
    expect(texts(dots)).toEqual(expect.arrayContaining(['perplexity, not from zero', '79.3', '79.1']));
    expect(texts(dots)).not.toContain('0');
    expect(texts(await barChart({ ...chart, bars }))).toEqual(expect.arrayContaining(['perplexity', '0']));
    const missing = await barChart({ ...chart, bars: [{ name: 'a', values: [79.3, undefined] }], marks: 'dots' });
    expect(missing.svg).not.toMatch(/NaN|undefined/);
  });

  it.each([
    ['far from zero', [79.3, 79.1], undefined, false],
    ['near it next to the greatest', [3.69, 80.85], [0.03, 5.47], true],
    ['of both signs', [-1.5, 0.25], undefined, true],
    ['far below zero', [-79.3, -79.1], undefined, false],
    // On narrow pages the first tick is zero, on wide ones it is not.
    ['a little farther from zero', [44, 101], undefined, false],
  ])(
    'has zero on the axis of dots that are %s, or says that it is not there',
    async (_, values, deviations, hasZero) => {
      const chart = await barChart({
        categories: ['a', 'b'],
        value: { label: 'perplexity' },
        barLabel: () => 'dot',
        marks: 'dots',
        horizontal: true,
        bars: [{ name: 'x', values, deviations }],
      });
      for (const drawn of [chart.svg, chart.narrow?.svg ?? '']) {
        const shown = [...drawn.matchAll(/<text[^>]*>([^<]*)</g)].map(([, text]) => text);
        expect(shown).toContain(shown.includes('0') ? 'perplexity' : 'perplexity, not from zero');
      }
      expect(texts(chart).includes('0')).toBe(hasZero);
      // No side of the axis is more than an interval beyond what it shows.
      const ticks = texts(chart)
        .map((text) => Number(text.replace('−', '-')))
        .filter(Number.isFinite);
      const interval = Math.abs(ticks[1] - ticks[0]);
      const ends = values.flatMap((value, at) => [value - (deviations?.[at] ?? 0), value + (deviations?.[at] ?? 0)]);
      expect(Math.max(...ticks)).toBeLessThan(Math.max(0, ...ends) + 2 * interval);
      expect(Math.min(...ticks)).toBeGreaterThan(Math.min(0, ...ends) - 2 * interval);
    },
  );

  it('has an axis for dots that are all zero', async () => {
    const bars = [{ name: 'x', values: [0, 0] }];
    const chart = await barChart({ categories: ['a', 'b'], value: { label: 'change' }, bars, marks: 'dots' });
    expect(texts(chart)).toEqual(expect.arrayContaining(['change', '0']));
    expect(chart.svg).not.toMatch(/NaN|Infinity/);
  });

  it.each([false, true])('labels every bar with its value (horizontal: %s)', async (horizontal) => {
    const chart = await barChart({
      categories: ['softmax', 'augmented'],
      value: { label: 'perplexity' },
      barLabel: (value) => value.toFixed(2),
      bars: [
        { name: 'before', values: [7.04, 55.6] },
        { name: 'after', values: [7, undefined] },
      ],
      horizontal,
    });
    expect(texts(chart)).toEqual(
      expect.arrayContaining(['softmax', 'augmented', 'before', 'after', 'perplexity', '7.04', '55.60', '7.00', '0']),
    );
    // One legend icon each, two bars before and one after.
    expect(coloured(chart, 'fill', seriesStyle(0).colour)).toHaveLength(3);
    expect(coloured(chart, 'fill', seriesStyle(1).colour)).toHaveLength(2);
  });

  it.each([false, true])('writes a value beyond its spread, once, in ink (horizontal: %s)', async (horizontal) => {
    const bars = [{ name: 'a', values: [1.25, 80.5, 40.75], deviations: [0.25, 5, NaN] }];
    const chart = await barChart({ categories: ['x', 'y', 'z'], value: { label: 'v' }, bars, horizontal });
    const dots = await barChart({
      categories: ['x', 'y', 'z'],
      value: { label: 'v' },
      bars,
      horizontal,
      marks: 'dots',
    });
    for (const { svg } of [chart, dots]) {
      for (const label of ['1.25', '80.5', '40.75']) {
        const found = svg.match(RegExp(`<text[^>]*>${label}<`, 'g'));
        expect(found).toHaveLength(1);
        expect(found?.[0]).not.toMatch(/fill="#fff/);
      }
    }
  });

  it('refuses values that do not fit the categories', async () => {
    const bars = [{ name: 'a', values: [1] }];
    await expect(barChart({ categories: ['x', 'y'], value: { label: 'v' }, bars })).rejects.toThrow(
      /1 values for 2 categories/,
    );
    await expect(barChart({ categories: ['x'], value: { label: 'v' }, bars: [] })).rejects.toThrow(/no bars/);
  });
});

describe('Chart', () => {
  it('lets no text become markup', async () => {
    const chart = await lineChart({
      title: HOSTILE,
      x: { label: HOSTILE, unit: HOSTILE },
      y: { label: HOSTILE, format: () => HOSTILE },
      lines: [
        { name: HOSTILE, points: square },
        { name: 'b', points: square },
      ],
    });
    const tags = new Set([...chart.svg.matchAll(/<([^\s>/]+)/g)].map(([, tag]) => tag));
    expect([...tags].sort()).toEqual(['path', 'rect', 'svg', 'text']);
    expect(chart.svg.match(/<\/svg>/g)).toHaveLength(1);
    expect(chart.svg).not.toMatch(/[\u0000\p{Surrogate}]/u);
    expect(texts(chart)[0]).toContain('&lt;script&gt;alert(&quot;1&quot;)');
  });

  it('carries nothing interactive and no address but the name spaces', async () => {
    const { svg } = await lineChart({ ...axes, lines: [{ name: 'a', points: square }] });
    expect(svg).not.toMatch(/<style|class=|ecmeta|pointer-events|\son\w+=|<script/);
    expect(svg.match(/https?:[^"]*/g)?.filter((address) => !address.startsWith('http://www.w3.org/'))).toEqual([]);
  });

  it('is equal text for equal data, and cuts off what its axes leave out without names that could meet', async () => {
    const draw = (most?: number): Promise<Chart> =>
      lineChart({ ...axes, y: { ...axes.y, max: most }, lines: [{ name: 'a', points: square }] });
    const [first, second, cut] = [await draw(), await draw(), await draw(10)];
    expect(second.svg).toBe(first.svg);
    expect(first.svg.match(/<svg /g)).toHaveLength(1);
    expect(cut.svg.match(/<svg /g)).toHaveLength(2);
    expect(cut.svg).not.toMatch(/ id="|url\(/);
  });

  it('says that there is nothing, without an axis of made-up numbers, where nothing was measured', async () => {
    const empty = await lineChart({ ...axes, lines: [{ name: 'a', points: [] }] });
    expect(texts(empty)).toEqual(['time', 'context (tokens)', 'no measurements']);
  });

  it('has ticks of bytes at powers of two, and none twice', async () => {
    const points = [0, 1, 2].map((x) => ({ x, y: 50_000 * x }));
    const y = { label: 'state', format: formatBytes, isBinary: true };
    const chart = await lineChart({ ...axes, y, lines: [{ name: 'a', points }] });
    expect(texts(chart)).toEqual(expect.arrayContaining(['0 B', '32 KiB', '64 KiB', '96 KiB', '128 KiB']));
    const coarse = await lineChart({
      ...axes,
      y: { label: 'y', format: (value) => value.toFixed(0) },
      lines: [{ name: 'a', points: points.map(({ x }) => ({ x, y: x })) }],
    });
    expect(texts(coarse).filter((text) => text === '1')).toHaveLength(2);
  });

  it('draws no more points than there are pixels, and loses no peak', async () => {
    const points = Array.from({ length: 20_000 }, (_, x) => ({ x, y: x === 777 ? 50 : Math.sin(x) }));
    const { svg } = await lineChart({ ...axes, lines: [{ name: 'a', points }] });
    expect(svg.length).toBeLessThan(60_000);
    const [peak] = coloured(
      await lineChart({ ...axes, lines: [{ name: 'a', points }] }),
      'stroke',
      seriesStyle(0).colour,
    );
    const heights = [...peak.matchAll(/[ML][-\d.]+ ([-\d.]+)/g)].map(([, y]) => Number(y));
    expect(heights.filter((y) => y < 100)).toHaveLength(1);
  });

  it('names lines at their ends, apart from one another, and widens one that another runs on', async () => {
    const shifted = square.map(({ x, y }) => ({ x, y: y + 0.2 }));
    const lines = ['first', 'second'].map((name, at) => ({ name, points: at === 0 ? square : shifted }));
    const chart = await lineChart({ ...axes, lines });
    const rows = [...chart.svg.matchAll(/<text[^>]* y="([-\d.]+)"[^>]*>(first|second)</g)];
    const transformed = [...chart.svg.matchAll(/translate\([-\d.]+ ([-\d.]+)\)[^>]*>(first|second)</g)];
    const heights = [...rows, ...transformed].map(([, y]) => Number(y));
    expect(heights).toHaveLength(2);
    expect(Math.abs(heights[0] - heights[1])).toBeGreaterThanOrEqual(14);
    const [under] = coloured(chart, 'stroke', seriesStyle(0).colour);
    const [over] = coloured(chart, 'stroke', seriesStyle(1).colour);
    expect([under, over].map((tag) => / stroke-width="(\d+)"/.exec(tag)?.[1])).toEqual(['5', '2']);
    // Narrow pages have no room at the right: there is a legend.
    expect(chart.narrow?.frame.width).toBe(350);
    expect(texts(chart.narrow ?? chart)).toEqual(expect.arrayContaining(['first', 'second']));
  });

  it('is recoloured where the system is dark, on a ground of its own, as a file alone', async () => {
    const file = (await lineChart({ ...axes, lines: [{ name: 'a', points: square }] })).svgFile();
    expect(file).toContain('@media (prefers-color-scheme: dark)');
    expect(file).toContain('rect[fill="#fff"] { fill: #181c23; }');
    expect(file).toContain('[stroke="#0072b2"] { stroke: #5db3e8; }');
  });

  it('has a white ground as a file alone', async () => {
    const chart = await lineChart({ ...axes, lines: [{ name: 'a', points: square }] });
    expect(chart.svg).toMatch(/<rect width="720" height="360"[^>]* fill="none"/);
    expect(chart.svgFile()).toMatch(/<rect width="720" height="360"[^>]* fill="#fff"/);
  });
});

describe('estimateTextWidth', () => {
  it('grows with length, width of letters and size', () => {
    expect(estimateTextWidth('mmm', 12)).toBeGreaterThan(estimateTextWidth('iii', 12));
    expect(estimateTextWidth('日本', 12)).toBeGreaterThan(estimateTextWidth('ab', 12));
    expect(estimateTextWidth('abc', 24)).toBeCloseTo(2 * estimateTextWidth('abc', 12));
    expect(estimateTextWidth('', 12)).toBe(0);
  });
});
