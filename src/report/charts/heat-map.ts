/** A picture of shares over two axes: a cell for each pair, coloured and with its number, such as recall by length and depth. */
import { LinnetError } from '../../errors.ts';
import { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth } from './chart-style.ts';
import { formatFixed } from '../quantities.ts';
import { shareStyle } from './share-colour.ts';
import { type SvgElement, writing } from './svg-element.ts';

export interface HeatMapDescription {
  readonly title: string;
  /** For those who cannot see the picture. Default: the title. */
  readonly description?: string;
  /** Names of columns and rows, and the titles of both. */
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly across: string;
  readonly down: string;
  /** A map for each of these, side by side, all of the same columns and rows. */
  readonly panels: readonly {
    readonly name: string;
    /** Shares 0…1, a list for each row; not finite where there is none. */
    readonly shares: readonly (readonly number[])[];
  }[];
}

const MARGIN = 16;
const CELL = { width: 46, height: 26 } as const;
const PANEL_GAP = 26;

/**
 * Draws the maps.
 * @throws LinnetError `INPUT` for shares that are not one for each column and row, or outside 0…1
 * @example
 * ```ts
 * const { svg } = heatMap(picture);
 * ```
 */
export function heatMap({ title, description, columns, rows, across, down, panels }: HeatMapDescription): Chart {
  for (const { name, shares } of panels) {
    const fits = shares.length === rows.length && shares.every((row) => row.length === columns.length);
    if (!fits || shares.flat().some((share) => share < 0 || share > 1)) {
      throw new LinnetError('INPUT', `"${name}": expected ${rows.length} × ${columns.length} shares from 0 to 1`);
    }
  }
  const labels = Math.max(...rows.map((row) => estimateTextWidth(row, CHART_TEXT.body)));
  const panelWidth = columns.length * CELL.width;
  // Names are centred over their maps, and may be wider: then maps stand farther apart.
  const names = Math.max(...panels.map(({ name }) => estimateTextWidth(name, CHART_TEXT.body)));
  const overhang = Math.max(0, names - panelWidth) / 2;
  const pitch = panelWidth + 2 * overhang + PANEL_GAP;
  const left = Math.max(MARGIN + 22 + labels + 8, MARGIN + overhang);
  const top = MARGIN + 62;
  const bottom = top + rows.length * CELL.height;
  const width = Math.ceil(
    Math.max(
      left + panels.length * pitch - PANEL_GAP - overhang + MARGIN,
      estimateTextWidth(title, CHART_TEXT.title) + 2 * MARGIN,
    ),
  );
  const body = { fontSize: CHART_TEXT.body, ink: CHART_INK.muted } as const;
  const middle = top + (rows.length * CELL.height) / 2;
  const elements: SvgElement[] = [
    writing(title, width / 2, MARGIN + 8, { fontSize: CHART_TEXT.title, ink: CHART_INK.text, weight: 600 }),
    {
      ...writing(down, 0, 0, body),
      attributes: {
        ...writing(down, 0, 0, body).attributes,
        transform: `translate(${MARGIN + 6} ${middle}) rotate(-90)`,
      },
    },
    ...rows.map((row, at) => writing(row, left - 8, top + (at + 0.5) * CELL.height, { ...body, anchor: 'end' })),
    ...panels.flatMap(({ name, shares }, panel): SvgElement[] => {
      const start = left + panel * pitch;
      return [
        writing(name, start + panelWidth / 2, MARGIN + 44, { fontSize: CHART_TEXT.body, ink: CHART_INK.text }),
        ...shares.flatMap((row, y) =>
          row.map((share, x) =>
            cell(share, start + x * CELL.width, top + y * CELL.height, `${rows[y]}, ${columns[x]}`),
          ),
        ),
        ...columns.map((column, at) => writing(column, start + (at + 0.5) * CELL.width, bottom + 13, body)),
        writing(across, start + panelWidth / 2, bottom + 33, body),
      ];
    }),
  ];
  return Chart.draw(elements, { width, height: bottom + 33 + MARGIN, description: description ?? title });
}

function cell(share: number, x: number, y: number, place: string): SvgElement {
  const { fill, ink } = shareStyle(share);
  const label = Number.isFinite(share) ? formatFixed(100 * share, 0) : '–';
  return {
    tag: 'g',
    content: [
      { tag: 'title', content: `${place}: ${label} %` },
      { tag: 'rect', attributes: { x, y, width: CELL.width - 1, height: CELL.height - 1, fill } },
      writing(label, x + (CELL.width - 1) / 2, y + (CELL.height - 1) / 2, { fontSize: 11, ink }),
    ],
  };
}
