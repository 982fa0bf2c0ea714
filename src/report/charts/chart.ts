/** Line and bar charts as static SVG in one style; see chart-style.ts for the look and chart-renderer.ts for the drawing. */
import type { BarSeriesOption } from 'echarts/charts';
import { LinnetError } from '../../errors.ts';
import { barLayout, barSpread, barWidth, hasSpread } from './bar-spread.ts';
import type {
  BarChartDescription,
  ChartAxis,
  ChartBars,
  ChartPoint,
  LineChartDescription,
} from './chart-description.ts';
import { axisName, bodyText, drawChart, type Drawing, numericAxis, onOneLine } from './chart-frame.ts';
import type { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth, seriesStyle } from './chart-style.ts';
import { dotAxis } from './dot-axis.ts';
import { dotPitch, dotSeries } from './dot-series.ts';
import { endNames, endNamesWidth, lineSeries, lineWidths, spreadSeries } from './line-series.ts';
import { formatNumber } from '../quantities.ts';

export type {
  BarChartDescription,
  ChartAxis,
  ChartBars,
  ChartLine,
  ChartPoint,
  LineChartDescription,
} from './chart-description.ts';

/**
 * Draws lines over a numeric axis. Lines have their names at their ends; one that others run on is wider than they are.
 * @throws LinnetError INPUT without a line or for a value that a logarithmic axis cannot show
 * @example
 * ```ts
 * const { svg } = await lineChart(chart);
 * ```
 */
export async function lineChart(chart: LineChartDescription): Promise<Chart> {
  const { lines, x, y } = chart;
  if (lines.length === 0) throw new LinnetError('INPUT', 'a line chart was given no lines; give at least one');
  for (const line of lines) {
    for (const point of line.points) checkPoint(line.name, point, chart);
  }
  const isCut = [x, y].some(({ min, max }) => min !== undefined || max !== undefined);
  const widths = lineWidths(lines);
  const names = endNamesWidth(lines);
  return drawChart(chart, (room) => {
    const isNamed = room === 'wide' && names !== undefined;
    return {
      frame: {
        names: isNamed ? [] : lines.map(({ name }) => name),
        across: x,
        up: y,
        right: isNamed ? names : undefined,
      },
      plot: {
        xAxis: {
          ...numericAxis(x),
          ...axisName(x),
          splitLine: { show: false },
          ...(room === 'narrow' && { splitNumber: 3 }),
        },
        yAxis: numericAxis(y),
        series: [
          ...lines.flatMap((line, at) => [...spreadSeries(line, at, isCut), lineSeries(line, at, widths[at])]),
          ...(isNamed ? endNames(lines) : []),
        ],
      },
    };
  });
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
    throw new LinnetError('INPUT', 'a bar chart was given no bars; give at least one category and one group of bars');
  }
  for (const { name, values } of bars) {
    if (values.length === categories.length) continue;
    throw new LinnetError(
      'INPUT',
      `the bars '${name}' have ${values.length} values for ${categories.length} categories; give one per category`,
    );
  }
  const rowHeight = 14 + dotPitch * bars.length;
  return drawChart(chart, (room) =>
    room === 'wide'
      ? barDrawing(chart, horizontal)
      : { ...barDrawing(chart, true, NARROW_LABEL), height: 120 + 16 * bars.length + rowHeight * categories.length },
  );
}

/** Pixels of the names of rows on narrow pages. */
const NARROW_LABEL = 110;
/** Into how many parts ticks part the axis of values, about. */
const PARTS = { wide: 5, narrow: 2 } as const;

function barDrawing(chart: BarChartDescription, horizontal: boolean, labelWidth?: number): Drawing {
  const { categories, bars, marks = 'bars', barLabel = chart.value.format ?? formatNumber } = chart;
  const isDots = marks === 'dots';
  const parts = labelWidth === undefined ? PARTS.wide : PARTS.narrow;
  const dots = isDots ? dotAxis(bars, parts, chart.value.max) : undefined;
  const value =
    dots?.hasZero === false ? { ...chart.value, label: `${chart.value.label}, not from zero` } : chart.value;
  const valueAxis = {
    ...numericAxis({ ...value, fromZero: !isDots, ...(dots && { min: dots.min, max: dots.max }) }),
    ...(horizontal ? axisName(value) : {}),
    splitNumber: parts,
    ...(dots && { interval: dots.interval }),
  };
  const categoryAxis = {
    type: 'category',
    data: categories.map(onOneLine),
    axisLine: { lineStyle: { color: CHART_INK.line } },
    axisTick: { show: false },
    axisLabel: {
      ...bodyText(CHART_INK.text),
      interval: 0,
      ...(labelWidth !== undefined && { width: labelWidth, overflow: 'break' as const }),
    },
  } as const;
  const labelWidths = bars.flatMap(({ values }) =>
    values.map((number) => (number === undefined ? 0 : estimateTextWidth(barLabel(number), CHART_TEXT.body))),
  );
  return {
    frame: {
      names: bars.map(({ name }) => name),
      // The longest bar may end at the edge of the axis, with its label beyond.
      ...(horizontal ? { across: value, right: Math.max(...labelWidths) + (isDots ? 14 : 8) } : { up: value }),
    },
    plot: {
      // Rows are read from the top; ECharts counts them from the bottom.
      ...(horizontal
        ? { xAxis: valueAxis, yAxis: { ...categoryAxis, inverse: true } }
        : { xAxis: categoryAxis, yAxis: valueAxis }),
      series: bars.flatMap((group, at) =>
        isDots
          ? dotSeries(group, at, bars.length, horizontal, barLabel)
          : [barSeries(group, at, horizontal, barLabel), ...barSpread(group, at, bars.length, horizontal, barLabel)],
      ),
    },
  };
}

/** Bars of one group, each labelled with its value; where a bar has a spread, that carries the value. */
function barSeries(
  group: ChartBars,
  at: number,
  horizontal: boolean,
  barLabel: (value: number) => string,
): BarSeriesOption {
  return {
    type: 'bar',
    name: onOneLine(group.name),
    data: group.values.map((number, category) => ({
      value: number !== undefined && Number.isFinite(number) ? number : '-',
      label: { show: !hasSpread(group, category) },
    })),
    itemStyle: { color: seriesStyle(at).colour, borderRadius: horizontal ? [0, 2, 2, 0] : [2, 2, 0, 0] },
    barMaxWidth: horizontal ? barWidth.horizontal : barWidth.vertical,
    ...barLayout,
    label: {
      show: true,
      position: horizontal ? 'right' : 'top',
      ...bodyText(CHART_INK.text),
      formatter: ({ value: shown }) => (typeof shown === 'number' ? barLabel(shown) : ''),
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
