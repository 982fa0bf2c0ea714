/** The lines of a chart, what tells apart those that run on one another, their spreads, and their names at their ends. */
import type { CustomSeriesOption, LineSeriesOption } from 'echarts/charts';
import type { ChartLine, ChartPoint } from './chart-description.ts';
import { bodyText, onOneLine } from './chart-frame.ts';
import { CHART_TEXT, estimateTextWidth, seriesStyle } from './chart-style.ts';

/** Longer lines carry no markers: they would hide the line. */
const MOST_MARKERS = 40;
const LINE_WIDTH = 2;
/** What a line is wider than the one that runs on it. */
const WIDENING = 3;
/** Lines whose ends have room for their names. */
const MOST_NAMED = 8;
const WIDEST_NAME = 190;
const NAME_GAP = 8;
const NAME_HEIGHT = 15;
/** Of the range of all values: nearer than this, two lines are one to the eye. */
const NEAR = 0.015;

/** @param width pixels */
export function lineSeries(line: ChartLine, at: number, width: number): LineSeriesOption {
  const { colour, symbol, dash } = seriesStyle(at);
  return {
    type: 'line',
    name: onOneLine(line.name),
    data: line.points.map(({ x, y }) => [x, Number.isFinite(y) ? y : NaN]),
    // Markers of a line that others run on would stand on theirs.
    showSymbol: line.points.length <= MOST_MARKERS && width === LINE_WIDTH,
    symbol,
    symbolSize: symbol.toLowerCase().includes('triangle') || symbol === 'diamond' ? 9 : 7,
    sampling: 'lttb',
    lineStyle: { width, type: width > LINE_WIDTH ? 'solid' : dash },
    itemStyle: { color: colour },
    z: 3,
  };
}

interface Spread {
  readonly x: number;
  readonly low: number;
  readonly high: number;
}

/** @param clip whether to cut off what the axes do not cover; else the caps of error bars may stand out at the edge */
export function spreadSeries(line: ChartLine, at: number, clip: boolean): CustomSeriesOption[] {
  const spreads = line.points.flatMap(({ x, low, high }): Spread[] =>
    low !== undefined && high !== undefined && Number.isFinite(low) && Number.isFinite(high) ? [{ x, low, high }] : [],
  );
  if (spreads.length === 0) return [];
  const { colour } = seriesStyle(at);
  const renderItem = line.spread === 'band' ? bandItem(spreads, colour) : errorBarItem(spreads, colour);
  return [
    {
      type: 'custom',
      // Without a name of its own it stays out of the legend.
      data: spreads.map(({ x, low, high }) => [x, low, high]),
      encode: { x: 0, y: [1, 2] },
      renderItem,
      clip,
      z: 2,
    },
  ];
}

type RenderItem = NonNullable<CustomSeriesOption['renderItem']>;

/** A vertical line from low to high with a cap at each end. */
function errorBarItem(spreads: readonly Spread[], colour: string): RenderItem {
  const CAP = 4;
  return ({ dataIndex }, api) => {
    const { x, low, high } = spreads[dataIndex];
    const [[column, bottom], [, top]] = [api.coord([x, low]), api.coord([x, high])];
    const stroke = (x1: number, y1: number, x2: number, y2: number) =>
      ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: colour, lineWidth: 1.5 } }) as const;
    return {
      type: 'group',
      children: [
        stroke(column, bottom, column, top),
        stroke(column - CAP, bottom, column + CAP, bottom),
        stroke(column - CAP, top, column + CAP, top),
      ],
    };
  };
}

/** One area for all points, drawn with the first: along the high ends and back along the low ones. */
function bandItem(spreads: readonly Spread[], colour: string): RenderItem {
  return ({ dataIndex }, api) => {
    if (dataIndex !== 0) return null;
    const outline = [
      ...spreads.map(({ x, high }) => api.coord([x, high])),
      ...spreads.map(({ x, low }) => api.coord([x, low])).reverse(),
    ];
    return { type: 'polygon', shape: { points: outline }, style: { fill: colour, opacity: 0.16 } };
  };
}

/**
 * Widths of lines: one that others run on is wider than they are, so that its edges are seen on both sides of them.
 */
export function lineWidths(lines: readonly ChartLine[]): number[] {
  const range = rangeOf(lines);
  return lines.map((line, at) => {
    const above = lines.slice(at + 1).filter((other) => runsOn(line, other, NEAR * range));
    return LINE_WIDTH + WIDENING * above.length;
  });
}

/**
 * The lines that run on one of the others, minus that one: what cannot be seen beside what they share. Undefined where none
 * does.
 */
export function hiddenDifferences(
  lines: readonly ChartLine[],
): { readonly from: string; readonly lines: readonly ChartLine[] } | undefined {
  const widths = lineWidths(lines);
  const at = widths.findIndex((width) => width > LINE_WIDTH);
  if (at === -1) return undefined;
  const near = NEAR * rangeOf(lines);
  const base = lines[at];
  const others = lines.slice(at + 1).filter((line) => runsOn(base, line, near));
  return { from: base.name, lines: differencesFrom([base, ...others]) };
}

/** The other lines minus the first, at the places of both. */
function differencesFrom([first, ...others]: readonly ChartLine[]): ChartLine[] {
  const known = new Map(first.points.map(({ x, y }) => [x, y]));
  return others.map(({ name, points }) => ({
    name,
    points: points.flatMap(({ x, y }) => {
      const base = known.get(x);
      return base === undefined ? [] : [{ x, y: y - base }];
    }),
  }));
}

function rangeOf(lines: readonly ChartLine[]): number {
  const values = lines.flatMap(({ points }) => points.map(({ y }) => y)).filter(Number.isFinite);
  const least = values.reduce((low, y) => Math.min(low, y), Infinity);
  return values.reduce((high, y) => Math.max(high, y), -Infinity) - least;
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

/** Pixels that names at the ends of lines take; undefined where a legend is better. */
export function endNamesWidth(lines: readonly ChartLine[]): number | undefined {
  if (lines.length < 2 || lines.length > MOST_NAMED) return undefined;
  const widest = Math.max(...lines.map(({ name }) => estimateTextWidth(onOneLine(name), CHART_TEXT.body)));
  return widest > WIDEST_NAME ? undefined : widest + NAME_GAP;
}

interface NamedEnd extends ChartPoint {
  readonly name: string;
  readonly colour: string;
}

/** The names of lines at their last points, moved apart where they would overlap. */
export function endNames(lines: readonly ChartLine[]): CustomSeriesOption[] {
  const ends = lines.flatMap(({ name, points }, at): NamedEnd[] => {
    const end = points.findLast(({ y }) => Number.isFinite(y));
    return end === undefined ? [] : [{ x: end.x, y: end.y, name: onOneLine(name), colour: seriesStyle(at).colour }];
  });
  if (ends.length === 0) return [];
  return [
    {
      type: 'custom',
      data: ends.map(({ x, y }) => [x, y]),
      encode: { x: 0, y: 1 },
      clip: false,
      silent: true,
      z: 5,
      // All of them are placed together, with the first.
      renderItem: ({ dataIndex }, api) => {
        if (dataIndex !== 0) return null;
        const placed = ends
          .map((end) => ({ ...end, place: api.coord([end.x, end.y]) }))
          .sort((a, b) => a.place[1] - b.place[1]);
        const rows = apart(placed.map(({ place }) => place[1]));
        return {
          type: 'group',
          children: placed.map(({ name, colour, place }, at) => ({
            type: 'text' as const,
            x: place[0] + NAME_GAP,
            y: rows[at],
            style: { text: name, fill: colour, ...textStyle, verticalAlign: 'middle' as const },
          })),
        };
      },
    },
  ];
}

const { fontFamily, fontSize } = bodyText('');
const textStyle = { fontFamily, fontSize };

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
