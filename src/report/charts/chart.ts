/** Line and bar charts as static SVG in one style; chart-style.ts has the look, chart-frame.ts the parts around a plot. */
import { LinnetError } from '../../errors.ts';
import { barElements, dotPitch, markedEnds } from './bar-series.ts';
import type { BarChartDescription, ChartAxis, ChartPoint, LineChartDescription } from './chart-description.ts';
import { drawChart, marker, numericAxis, type View } from './chart-frame.ts';
import type { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth, seriesStyle } from './chart-style.ts';
import { endNames, endNamesWidth, lineElements } from './line-series.ts';
import { dotEnds, scaleOf } from './scale.ts';
import { stroke, type SvgElement, writing } from './svg-element.ts';
import { formatNumber } from '../quantities.ts';

/** Into how many parts ticks part axes, about. */
const PARTS = { wide: { across: 6, up: 6, values: 5 }, narrow: { across: 3, up: 6, values: 2 } } as const;
/** Pixels of the names of rows on narrow pages. */
const NARROW_LABEL = 110;

/**
 * Draws lines over a numeric axis. Lines have their names at their ends; one that others run on is wider than they are.
 * @throws LinnetError INPUT without a line or for a value that a logarithmic axis cannot show
 * @example
 * ```ts
 * const { svg } = await lineChart(chart);
 * ```
 */
export async function lineChart(chart: LineChartDescription): Promise<Chart> {
  const { lines } = chart;
  if (lines.length === 0) throw new LinnetError('INPUT', 'the line chart has no lines; give at least one');
  for (const line of lines) {
    for (const point of line.points) checkPoint(line.name, point, chart);
  }
  const names = endNamesWidth(lines);
  return drawChart(chart, (room) => {
    const isNamed = room === 'wide' && names !== undefined;
    return { ...lineView(chart, room, isNamed), right: isNamed ? names : undefined };
  });
}

/** The view of a line chart. @param isNamed whether lines have their names at their ends, not in a legend */
export function lineView({ lines, x, y }: LineChartDescription, room: keyof typeof PARTS, isNamed: boolean): View {
  const points = lines.flatMap((line) => line.points.filter(({ y: value }) => Number.isFinite(value)));
  const values = points.flatMap(({ y: value, low = value, high = value }) => [value, low, high]);
  const places = points.map((point) => point.x);
  const across = scaleOf(x, places, PARTS[room].across, true);
  const up = scaleOf(y, values, PARTS[room].up);
  return {
    names: isNamed ? [] : lines.map(({ name }) => name),
    icon: (at, left, top) => [
      stroke(
        [
          [left - 12, top],
          [left + 12, top],
        ],
        seriesStyle(at).colour,
        2,
      ),
      marker(at, [left, top], 0.8),
    ],
    across: numericAxis(x, across, false),
    up: { ...numericAxis(y, up, true), hasGrid: true },
    isCut: [x, y].some(({ min, max }) => min !== undefined || max !== undefined),
    plot(place) {
      if (across === undefined || up === undefined) return nothing(place(0.5, 0.5));
      const at = (point: ChartPoint, value: number) => place(across.share(point.x), 1 - up.share(value));
      return [...lineElements(lines, at), ...(isNamed ? endNames(lines, at) : [])];
    },
  };
}

/** The notice in a plot without values. */
function nothing([x, y]: readonly [number, number]): SvgElement[] {
  return [writing('no measurements', x, y, { ink: CHART_INK.muted })];
}

/**
 * Draws bars from zero, or dots on an axis of their range, which says so where zero is not on it; each labelled with its
 * value. On narrow pages categories are rows.
 * @throws LinnetError INPUT without bars, or where values and categories differ in number
 * @example
 * ```ts
 * const { svg } = await barChart(chart);
 * ```
 */
export async function barChart(chart: BarChartDescription): Promise<Chart> {
  const { categories, bars, horizontal = false } = chart;
  if (bars.length === 0 || categories.length === 0) {
    throw new LinnetError('INPUT', 'the bar chart has no bars; give at least one category and one group of bars');
  }
  for (const { name, values } of bars) {
    if (values.length === categories.length) continue;
    throw new LinnetError(
      'INPUT',
      `the bars '${name}' have ${values.length} values for ${categories.length} categories; give one per category`,
    );
  }
  const rowHeight = 14 + dotPitch * bars.length;
  const narrowHeight = 120 + 16 * bars.length + rowHeight * categories.length;
  return drawChart(chart, (room) =>
    room === 'wide' ? barView(chart, room, horizontal) : { ...barView(chart, room, true), height: narrowHeight },
  );
}

function barView(chart: BarChartDescription, room: keyof typeof PARTS, horizontal: boolean): View {
  const { categories, bars, marks = 'bars', value, barLabel = value.format ?? formatNumber } = chart;
  const isDots = marks === 'dots';
  const ends = markedEnds(bars).map((end) => Math.min(end, value.max ?? end));
  const parts = PARTS[room].values;
  const scale = isDots ? scaleOf(value, dotEnds(ends), parts) : scaleOf({ ...value, fromZero: true }, ends, parts);
  const isFromZero = scale === undefined || (scale.min <= 0 && scale.max >= 0);
  const label = isFromZero ? value.label : `${value.label}, not from zero`;
  const values = { ...numericAxis({ ...value, label }, scale, !horizontal), hasGrid: true };
  const labels = categories.map((text, at) => ({ text, share: (at + 0.5) / categories.length }));
  const names = { labels, isCategory: true };
  const numbers = bars.flatMap((group) => group.values.filter((number) => number !== undefined));
  // Values beyond the axis have an arrow after the figure.
  const figure = (number: number): string => `${barLabel(number)}${number > (value.max ?? number) ? ' →' : ''}`;
  const widest = Math.max(0, ...numbers.map((number) => estimateTextWidth(figure(number), CHART_TEXT.body)));
  return {
    names: bars.map(({ name }) => name),
    icon: (at, x, y) => [
      isDots
        ? marker(at, [x, y])
        : { tag: 'path', attributes: { d: `M${x - 12} ${y - 5.5}h24v11h-24Z`, fill: seriesStyle(at).colour } },
    ],
    across: horizontal ? values : names,
    up: horizontal ? names : values,
    ...(horizontal && { right: widest + 14 }),
    labelWidth: room === 'narrow' ? NARROW_LABEL : undefined,
    plot(place) {
      if (scale === undefined) return nothing(place(0.5, 0.5));
      return barElements(bars, { isDots, horizontal, label: barLabel, place, scale });
    },
  };
}

function checkPoint(name: string, point: ChartPoint, { x, y }: LineChartDescription): void {
  const refuse = (what: string): LinnetError => new LinnetError('INPUT', `line '${name}' of a chart: ${what}`);
  if (!Number.isFinite(point.x)) throw refuse(`x is ${point.x}; give finite numbers`);
  const isLog = (axis: ChartAxis): boolean => axis.scale === 'log2' || axis.scale === 'log10';
  if (isLog(x) && point.x <= 0) throw refuse(`x is ${point.x} on a logarithmic axis; give positive numbers`);
  for (const value of [point.y, point.low, point.high]) {
    if (isLog(y) && value !== undefined && value <= 0) {
      throw refuse(`y is ${value} at x = ${point.x} on a logarithmic axis; give positive numbers`);
    }
  }
}
