/** Category values as bars, or as dots if they differ little, with spreads and numbers. */
import type { ChartBars } from './chart-description.ts';
import { marker, type Place, spreadBar } from './chart-frame.ts';
import { CHART_INK, seriesStyle } from './chart-style.ts';
import type { Scale } from './scale.ts';
import { type Point, roundedText, type SvgElement, writing } from './svg-element.ts';

/** Pixels between the dots of adjacent groups. */
export const dotPitch = 18;
/** Widest bars in pixels, rows and columns. */
const WIDEST = { row: 24, column: 56 } as const;
/** Share of a category's room that its bars take, and of a bar's room that the bar takes. */
const FILLED = { category: 0.8, bar: 0.9 } as const;
const RADIUS = 5;
/** Pixels from a bar or dot to its value in figures. */
const BEYOND = 6;

interface BarPlot {
  readonly isDots: boolean;
  /** Values grow to the right. */
  readonly horizontal: boolean;
  readonly label: (value: number) => string;
  readonly place: Place;
  readonly scale: Scale;
}

/** Half the length of a spread; 0 if there is none. */
function deviationOf({ deviations }: ChartBars, category: number): number {
  const deviation = deviations?.[category] ?? 0;
  return Number.isFinite(deviation) ? deviation : 0;
}

/** The ends of everything drawn. */
export function markedEnds(bars: readonly ChartBars[]): number[] {
  return bars.flatMap((group) =>
    group.values.flatMap((value, category) => {
      if (value === undefined || !Number.isFinite(value)) return [];
      const deviation = deviationOf(group, category);
      return [value - deviation, value + deviation];
    }),
  );
}

/** The marks of all groups, each with its value in figures and its spread. */
export function barElements(bars: readonly ChartBars[], plot: BarPlot): SvgElement[] {
  const { isDots, horizontal, place, scale } = plot;
  const [origin, end] = [place(0, 0), place(1, 1)];
  const room = (horizontal ? end[1] - origin[1] : end[0] - origin[0]) / bars[0].values.length;
  const pitch = isDots
    ? dotPitch
    : Math.min((FILLED.category * room) / bars.length, horizontal ? WIDEST.row : WIDEST.column);
  return bars.flatMap((group, series) =>
    group.values.flatMap((value, category) => {
      if (value === undefined || !Number.isFinite(value)) return [];
      const shift = (series - (bars.length - 1) / 2) * pitch;
      const at = (number: number): Point => {
        const slot = (category + 0.5) / group.values.length;
        const share = scale.share(Math.min(number, scale.max));
        const [x, y] = horizontal ? place(share, slot) : place(slot, 1 - share);
        return horizontal ? [x, y + shift] : [x + shift, y];
      };
      const { colour } = seriesStyle(series);
      const deviation = deviationOf(group, category);
      const low = at(isDots ? value - deviation : Math.max(0, value - deviation));
      const ink = isDots ? colour : CHART_INK.text;
      const spread = deviation === 0 ? [] : spreadBar(low, at(value + deviation), ink, isDots ? 4 : 3);
      const mark = isDots
        ? marker(series, at(value), RADIUS / 4.5)
        : bar(at(0), at(value), FILLED.bar * pitch, horizontal, colour);
      const arrow = value <= scale.max ? '' : horizontal ? ' →' : ' ↑';
      const text = `${plot.label(value)}${arrow}`;
      const [x, y] = at(Math.max(value, value + deviation));
      const reach = BEYOND + (isDots ? RADIUS : 0);
      const figure = horizontal
        ? writing(text, x + reach, y, { ink: CHART_INK.text, anchor: 'start' })
        : writing(text, x, y - reach - 2, { ink: CHART_INK.text });
      return isDots ? [...spread, mark, figure] : [mark, ...spread, figure];
    }),
  );
}

function bar(from: Point, to: Point, thickness: number, horizontal: boolean, colour: string): SvgElement {
  const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])].map(roundedText);
  const [half, whole] = [thickness / 2, thickness].map(roundedText);
  const length = roundedText(Math.abs(horizontal ? to[0] - from[0] : to[1] - from[1]));
  const d = horizontal
    ? `M${x} ${y}m0 -${half}h${length}v${whole}h-${length}Z`
    : `M${x} ${y}m-${half} 0h${whole}v${length}h-${whole}Z`;
  return { tag: 'path', attributes: { d, fill: colour } };
}
