import { describe, expect, it } from 'vitest';
import { CHART_TEXT, estimateTextWidth, shareStyle } from './chart-style.ts';
import { heatMap, type HeatMapDescription } from './heat-map.ts';

const picture: HeatMapDescription = {
  title: 'Found & lost',
  columns: ['512', '1K'],
  rows: ['0 %', '50 %', '100 %'],
  across: 'tokens',
  down: 'depth',
  panels: [
    {
      name: 'a<b',
      shares: [
        [0, 0.25],
        [0.5, 1],
        [Number.NaN, 0.1],
      ],
    },
  ],
};

describe('heatMap', () => {
  it('draws a cell for every pair, coloured by its share, with its number', () => {
    const { svg, frame } = heatMap(picture);
    const cells = [...svg.matchAll(/<title>([^<]*)<\/title><rect [^>]*fill="([^"]*)"[^>]*\/><text [^>]*>([^<]*)</g)];
    expect(cells.map(([, place, , label]) => [place, label])).toEqual([
      ['0 %, 512: 0 %', '0'],
      ['0 %, 1K: 25 %', '25'],
      ['50 %, 512: 50 %', '50'],
      ['50 %, 1K: 100 %', '100'],
      ['100 %, 512: – %', '–'],
      ['100 %, 1K: 10 %', '10'],
    ]);
    expect(cells.map(([, , fill]) => fill)).toEqual(
      picture.panels[0].shares.flat().map((share) => shareStyle(share).fill),
    );
    expect(svg).toContain('a&lt;b');
    expect(frame.description).toBe('Found & lost');
  });

  it('keeps names that are wider than their maps apart, and inside the picture', () => {
    const names = ['a model of a long name', 'another of a longer name', 'third'];
    const { svg, frame } = heatMap({ ...picture, panels: names.map((name) => ({ ...picture.panels[0], name })) });
    const spans = names.map((name) => {
      const middle = Number(RegExp(`<text x="([\\d.]+)"[^>]*>${name}<`).exec(svg)?.[1]);
      const half = estimateTextWidth(name, CHART_TEXT.body) / 2;
      return { from: middle - half, to: middle + half };
    });
    expect(spans[0].from).toBeGreaterThanOrEqual(0);
    expect(spans[1].from).toBeGreaterThan(spans[0].to);
    expect(spans[2].from).toBeGreaterThan(spans[1].to);
    expect(spans[2].to).toBeLessThanOrEqual(frame.width);
  });

  it('has maps below each other on narrow pages, each with the names of its rows', () => {
    const { narrow } = heatMap({
      ...picture,
      panels: [0, 1].map((at) => ({ ...picture.panels[0], name: `map ${at}` })),
    });
    const { svg, frame } = narrow ?? heatMap(picture);
    expect(frame.width).toBe(350);
    expect(svg.match(/>50 %</g)).toHaveLength(2);
    expect(svg.match(/>1K</g)).toHaveLength(1);
    const heights = ['map 0', 'map 1'].map((name) => Number(RegExp(`y="([\\d.]+)"[^>]*>${name}<`).exec(svg)?.[1]));
    expect(heights[1]).toBeGreaterThan(heights[0] + 3 * 26);
  });

  it('refuses shares that do not fit', () => {
    const wrong = (shares: number[][]) => () => heatMap({ ...picture, panels: [{ name: 'x', shares }] });
    expect(wrong([[0, 0.25]])).toThrow(/expected 3 × 2 shares/);
    expect(
      wrong([
        [0, 0],
        [0, 2],
        [0, 0],
      ]),
    ).toThrow(/from 0 to 1/);
  });
});
