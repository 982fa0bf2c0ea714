/** A picture of shares over two axes: a cell for each pair, coloured and with its number, such as recall by length and depth. */
import { LinnetError } from '../../errors.ts';
import { formatFixed } from '../quantities.ts';
import { drawChart, type Place, type View } from './chart-frame.ts';
import type { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth, shareStyle } from './chart-style.ts';
import { type Point, type SvgElement, writing } from './svg-element.ts';

export interface HeatMapDescription {
  readonly title: string;
  /** Alternative text. Default: the title. */
  readonly description?: string;
  /** Names of columns and rows, and the titles of both. */
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly across: string;
  readonly down: string;
  /** Maps of the same columns and rows, side by side, or below each other on narrow pages. */
  readonly panels: readonly {
    readonly name: string;
    /** Shares 0…1, a list for each row; non-finite for none. */
    readonly shares: readonly (readonly number[])[];
  }[];
}

/** Pixels of a cell at most. */
const CELL = { width: 46, height: 26 } as const;
/** Cells between two maps, and pixels between two names. */
const GAP = 0.6;
const NAME_GAP = 12;

/**
 * Draws the maps.
 * @throws LinnetError `INPUT` unless there is one share within 0…1 for each column and row
 * @example
 * ```ts
 * const { svg } = heatMap(picture);
 * ```
 */
export function heatMap(picture: HeatMapDescription): Chart {
  const { columns, rows, panels } = picture;
  for (const { name, shares } of panels) {
    const fits = shares.length === rows.length && shares.every((row) => row.length === columns.length);
    if (!fits || shares.flat().some((share) => share < 0 || share > 1)) {
      throw new LinnetError('INPUT', `"${name}": expected ${rows.length} × ${columns.length} shares from 0 to 1`);
    }
  }
  return drawChart(picture, (room, width) => {
    const names = Math.max(...panels.map(({ name }) => estimateTextWidth(name, CHART_TEXT.body)));
    const left = Math.max(...rows.map((row) => estimateTextWidth(row, CHART_TEXT.body)));
    // Names are centred over their maps, and may be wider: then maps stand farther apart.
    const gap = Math.max(GAP, (names + NAME_GAP) / CELL.width - columns.length);
    const across = panels.length * (columns.length + gap);
    const isStacked = room === 'narrow' || left + across * CELL.width > width;
    return heatView(picture, { isStacked, gap: isStacked ? 0 : gap, room: width - left - 8 });
  });
}

/** @param gap cells between two maps @param room pixels next to row names */
function heatView(
  { columns, rows, across, down, panels }: HeatMapDescription,
  { isStacked, gap, room }: { readonly isStacked: boolean; readonly gap: number; readonly room: number },
): View {
  const last = panels.length - 1;
  const wide = isStacked ? columns.length : panels.length * columns.length + last * gap;
  const tall = isStacked ? panels.length * rows.length + last : rows.length;
  const margin = gap / 2;
  const total = wide + gap;
  const firstColumn = (panel: number): number => margin + (isStacked ? 0 : panel * (columns.length + gap));
  const firstRow = (panel: number): number => (isStacked ? panel * (rows.length + 1) : 0);
  const labels = (names: readonly string[], first: (panel: number) => number, count: number, repeated: boolean) =>
    panels
      .slice(0, repeated ? undefined : 1)
      .flatMap((_, panel) => names.map((text, at) => ({ text, share: (first(panel) + at + 0.5) / count })));
  return {
    names: [],
    icon: () => [],
    hasLines: false,
    across: { name: across, labels: labels(columns, firstColumn, total, !isStacked), isCategory: true },
    up: { name: down, labels: labels(rows, firstRow, tall, isStacked), isCategory: true },
    right: Math.max(2, room - total * CELL.width),
    height: 96 + tall * CELL.height,
    plot: (place) =>
      panels.flatMap(({ name, shares }, panel): SvgElement[] => {
        const at: Place = (x, y) => place((firstColumn(panel) + x) / total, (firstRow(panel) + y) / tall);
        const [middle, top] = at(columns.length / 2, 0);
        return [
          writing(name, middle, top - CELL.height / 2, { ink: CHART_INK.text }),
          ...shares.flatMap((row, y) =>
            row.map((share, x) => cell(share, at(x, y), at(x + 1, y + 1), `${rows[y]}, ${columns[x]}`)),
          ),
        ];
      }),
  };
}

function cell(share: number, [x, y]: Point, end: Point, place: string): SvgElement {
  const { fill, ink } = shareStyle(share);
  const label = Number.isFinite(share) ? formatFixed(100 * share, 0) : '–';
  const [width, height] = [end[0] - x - 1, end[1] - y - 1];
  return {
    tag: 'g',
    content: [
      { tag: 'title', content: `${place}: ${label} %` },
      { tag: 'rect', attributes: { x, y, width, height, fill } },
      writing(label, x + width / 2, y + height / 2, { fontSize: 11, ink }),
    ],
  };
}
