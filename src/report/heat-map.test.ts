import { describe, expect, it } from 'vitest';
import { heatMap, type HeatMapDescription } from './heat-map.ts';
import { shareStyle } from './share-colour.ts';

const picture: HeatMapDescription = {
  ...{ title: 'Found & lost', columns: ['512', '1K'], rows: ['0 %', '50 %', '100 %'], across: 'tokens', down: 'depth' },
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
