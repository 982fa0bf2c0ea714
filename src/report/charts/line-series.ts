/** The lines of a chart, the distinction of lines that run on one another, their spreads, and their names at their ends. */
import { sort } from 'd3-array';
import type { ChartLine, ChartPoint } from './chart-description.ts';
import { marker, spreadBar } from './chart-frame.ts';
import { CHART_TEXT, estimateTextWidth, seriesStyle } from './chart-style.ts';
import { extent } from './scale.ts';
import { groupedBy } from '../statistics.ts';
import { linePath, type Point, stroke, type SvgElement, writing } from './svg-element.ts';

/** Longer lines carry no markers: they would hide the line. */
const MOST_MARKERS = 40;
const LINE_WIDTH = 2;
const CAP = 4;
/** Pixels by which a line is wider, per line that runs on it. */
const WIDENING = 3;
/** Lines whose ends have room for their names. */
const MOST_NAMED = 8;
const WIDEST_NAME = 190;
const NAME_GAP = 8;
const NAME_HEIGHT = 15;
/** Share of the value range below which two lines look like one. */
const NEAR = 0.015;

/** Spreads under lines, lines with their markers, over the axes of a plot. */
export function lineElements(lines: readonly ChartLine[], at: (point: ChartPoint, y: number) => Point): SvgElement[] {
  const widths = lineWidths(lines);
  return [
    ...lines.flatMap((line, place) => spreadElements(line, line.style ?? place, at)),
    ...lines.flatMap(({ points, style, isDashed }, place) => {
      const series = style ?? place;
      const { colour, isDashed: isUsuallyDashed } = seriesStyle(series);
      const width = widths[place];
      const runs = finiteRuns(points).map((run) => thinned(run.map((point) => at(point, point.y))));
      const { attributes } = stroke([], colour, width);
      const dashes = (isDashed ?? isUsuallyDashed) && width === LINE_WIDTH ? '6 4' : 'none';
      // Markers of a line that others run on would stand on theirs.
      const isMarked = points.length <= MOST_MARKERS && width === LINE_WIDTH;
      return [
        {
          tag: 'path' as const,
          attributes: { ...attributes, d: runs.map(linePath).join(''), 'stroke-dasharray': dashes },
        },
        ...(isMarked ? runs.flat().map((point) => marker(series, point, 0.8)) : []),
      ];
    }),
  ];
}

/** Stretches of points whose values are finite. */
function finiteRuns(points: readonly ChartPoint[]): ChartPoint[][] {
  const runs: ChartPoint[][] = [[]];
  for (const point of points) {
    if (Number.isFinite(point.y)) runs[runs.length - 1].push(point);
    else if (runs[runs.length - 1].length > 0) runs.push([]);
  }
  return runs.filter((run) => run.length > 0);
}

/** Keeps the first, highest, lowest and last point of crowded pixel columns. */
function thinned(points: readonly Point[]): readonly Point[] {
  const columns = groupedBy(points, ([x]) => Math.round(x));
  if (points.length < 4 * columns.length) return points;
  return columns.flatMap((column) => {
    const heights = column.map(([, y]) => y);
    const kept = [0, heights.indexOf(Math.min(...heights)), heights.indexOf(Math.max(...heights)), column.length - 1];
    return sort(new Set(kept)).map((index) => column[index]);
  });
}

function spreadElements(line: ChartLine, series: number, at: (point: ChartPoint, y: number) => Point): SvgElement[] {
  const { colour } = seriesStyle(series);
  const ends = line.points.flatMap((point): (readonly [Point, Point])[] => {
    const { low = NaN, high = NaN } = point;
    return Number.isFinite(low + high) ? [[at(point, low), at(point, high)]] : [];
  });
  if (line.spread !== 'band') return ends.flatMap(([low, high]) => spreadBar(low, high, colour, CAP));
  if (ends.length === 0) return [];
  const outline = [...ends.map(([, high]) => high), ...ends.map(([low]) => low).reverse()];
  return [{ tag: 'path', attributes: { d: `${linePath(outline)}Z`, fill: colour, 'fill-opacity': 0.16 } }];
}

/** Line widths: a line under others is wider, so that its edges show on both sides. */
function lineWidths(lines: readonly ChartLine[]): number[] {
  const range = rangeOf(lines);
  return lines.map((line, at) => {
    const above = lines.slice(at + 1).filter((other) => runsOn(line, other, NEAR * range));
    return LINE_WIDTH + WIDENING * above.length;
  });
}

/**
 * The lines that run on one of the others, minus that one: differences too small to be seen in the chart. Undefined where
 * none does.
 */
export function hiddenDifferences(
  lines: readonly ChartLine[],
): { readonly from: string; readonly lines: readonly ChartLine[] } | undefined {
  const at = lineWidths(lines).findIndex((width) => width > LINE_WIDTH);
  if (at === -1) return undefined;
  const near = NEAR * rangeOf(lines);
  const base = lines[at];
  const known = new Map(base.points.map(({ x, y }) => [x, y]));
  const differences = lines
    .slice(at + 1)
    .filter((line) => runsOn(base, line, near))
    .map(({ name, points }) => ({
      name,
      points: points.flatMap(({ x, y }) => {
        const below = known.get(x);
        return below === undefined ? [] : [{ x, y: y - below }];
      }),
    }));
  return { from: base.name, lines: differences };
}

function rangeOf(lines: readonly ChartLine[]): number {
  const [least, greatest] = extent(lines.flatMap(({ points }) => points.map(({ y }) => y))) ?? [0, 0];
  return greatest - least;
}

/** Whether half of the places that two lines share have values nearer than `near`. */
function runsOn(line: ChartLine, other: ChartLine, near: number): boolean {
  const known = new Map(other.points.map(({ x, y }) => [x, y]));
  const distances = line.points.flatMap(({ x, y }) => {
    const also = known.get(x);
    return also === undefined || !Number.isFinite(y) || !Number.isFinite(also) ? [] : [Math.abs(y - also)];
  });
  return distances.length >= 2 && 2 * distances.filter((distance) => distance <= near).length >= distances.length;
}

/** Pixels for names at the ends of lines; undefined if a legend is better. */
export function endNamesWidth(lines: readonly ChartLine[]): number | undefined {
  if (lines.length < 2 || lines.length > MOST_NAMED) return undefined;
  const widest = Math.max(...lines.map(({ name }) => estimateTextWidth(name, CHART_TEXT.body)));
  return widest > WIDEST_NAME ? undefined : widest + NAME_GAP;
}

/** Line names at their last points, moved apart if they overlap. */
export function endNames(lines: readonly ChartLine[], at: (point: ChartPoint, y: number) => Point): SvgElement[] {
  const ends = lines
    .flatMap(({ name, points, style }, place) => {
      const end = points.findLast(({ y }) => Number.isFinite(y));
      return end === undefined ? [] : [{ name, ink: seriesStyle(style ?? place).colour, place: at(end, end.y) }];
    })
    .sort((a, b) => a.place[1] - b.place[1]);
  const rows = apart(ends.map(({ place }) => place[1]));
  return ends.map(({ name, ink, place }, row) =>
    writing(name, place[0] + NAME_GAP, rows[row], { ink, anchor: 'start' }),
  );
}

/** Ascending heights, at least a line of text from one to the next, moved no more than is needed. */
function apart(heights: readonly number[]): number[] {
  const rows = [...heights];
  for (let pass = 0; pass < 50; pass++) {
    let moved = false;
    for (let at = 1; at < rows.length; at++) {
      const missing = NAME_HEIGHT - (rows[at] - rows[at - 1]);
      if (missing <= 0.5) continue;
      rows[at - 1] -= missing / 2;
      rows[at] += missing / 2;
      moved = true;
    }
    if (!moved) break;
  }
  return rows;
}
