/** Line and bar charts as static SVG in one style; see chart-style.ts for the look and chart-renderer.ts for the drawing. */
import type { CustomSeriesOption, LineSeriesOption } from 'echarts/charts';
import { LinnetError } from '../errors.ts';
import { barSeries, dotSeries } from './bar-series.ts';
import { barSpread } from './bar-spread.ts';
import { Chart } from './chart-renderer.ts';
import type { ChartOption } from './chart-option.ts';
import {
  bodyText,
  CHART_FONT,
  CHART_INK,
  CHART_TEXT,
  estimateTextWidth,
  onOneLine,
  seriesStyle,
} from './chart-style.ts';
import { formatNumber, formatTokens } from './quantities.ts';

/** What both kinds of chart have. */
interface ChartBase {
  readonly title?: string;
  /** For those who cannot see the picture. Default: the title, else the labels of the axes. */
  readonly description?: string;
  /** CSS pixels; default 720. */
  readonly width?: number;
  /** CSS pixels; default 360. */
  readonly height?: number;
}

/** An axis of numbers. */
export interface ChartAxis {
  readonly label: string;
  /** Appended to the label in parentheses. */
  readonly unit?: string;
  /** Default `linear`. Logarithmic axes have ticks at the powers of their base and take positive values only. */
  readonly scale?: 'linear' | 'log2' | 'log10';
  /** Whether a linear axis starts at zero whatever the data. Default false. */
  readonly fromZero?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** Spelling of the ticks. Default: `formatTokens` on log2 axes, `formatNumber` on the others. */
  readonly format?: (value: number) => string;
}

/** A measurement, with its spread where it is known. A `y` that is not finite leaves a gap in the line. */
export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** Ends of the spread; drawn where both are given and finite. */
  readonly low?: number;
  readonly high?: number;
}

export interface ChartLine {
  readonly name: string;
  readonly points: readonly ChartPoint[];
  /** How the spread is drawn. Default `bars`. */
  readonly spread?: 'bars' | 'band';
}

export interface LineChartDescription extends ChartBase {
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly lines: readonly ChartLine[];
}

/** A group of bars of one colour: one value per category, undefined where there is none. */
export interface ChartBars {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
  /** The spread of each value, drawn to both sides of the bar's end. */
  readonly deviations?: readonly (number | undefined)[];
}

export interface BarChartDescription extends ChartBase {
  readonly categories: readonly string[];
  /** The axis of values, which starts at zero under bars. */
  readonly value: Pick<ChartAxis, 'label' | 'unit' | 'max' | 'format'>;
  /** Spelling of the value at each bar. Default: that of the axis. */
  readonly barLabel?: (value: number) => string;
  readonly bars: readonly ChartBars[];
  /** Bars grow to the right, categories are rows: for long names. Default false. */
  readonly horizontal?: boolean;
  /** `dots` for values that differ by little: their axis shows their range alone, and says so. Default `bars`. */
  readonly marks?: 'bars' | 'dots';
}

const DEFAULT_WIDTH = 720;
const DEFAULT_HEIGHT = 360;
/** Longer lines carry no markers: they would hide the line. */
const MOST_MARKERS = 40;

/**
 * Draws lines over a numeric axis.
 * @throws LinnetError INPUT without a line or for a value that a logarithmic axis cannot show
 * @example
 * ```ts
 * const { svg } = await lineChart(chart);
 * ```
 */
export async function lineChart(chart: LineChartDescription): Promise<Chart> {
  if (chart.lines.length === 0) throw new LinnetError('INPUT', 'a line chart was given no lines; give at least one');
  for (const line of chart.lines) {
    for (const point of line.points) checkPoint(line.name, point, chart);
  }
  const isCut = [chart.x, chart.y].some(({ min, max }) => min !== undefined || max !== undefined);
  const frame = { names: chart.lines.map(({ name }) => name), across: chart.x, up: chart.y };
  return draw(chart, frame, {
    xAxis: { ...numericAxis(chart.x), ...axisName(chart.x), splitLine: { show: false } },
    yAxis: numericAxis(chart.y),
    series: chart.lines.flatMap((line, at) => [...spreadSeries(line, at, isCut), lineSeries(line, at)]),
  });
}

/**
 * Draws bars from zero, or dots on an axis that does not begin at zero, each labelled with its value.
 * @throws LinnetError INPUT without bars, or where values and categories differ in number
 * @example
 * ```ts
 * const { svg } = await barChart(chart);
 * ```
 */
export async function barChart(chart: BarChartDescription): Promise<Chart> {
  const { categories, bars, horizontal = false, marks = 'bars', barLabel = chart.value.format ?? formatNumber } = chart;
  const isDots = marks === 'dots';
  const value = isDots ? { ...chart.value, label: `${chart.value.label}, not from zero` } : chart.value;
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
  const valueAxis = { ...numericAxis({ ...value, fromZero: !isDots }), ...(horizontal ? axisName(value) : {}) };
  const categoryAxis = {
    type: 'category',
    data: categories.map(onOneLine),
    axisLine: { lineStyle: { color: CHART_INK.line } },
    axisTick: { show: false },
    axisLabel: { ...bodyText(CHART_INK.text), interval: 0 },
  } as const;
  const labelWidths = bars.flatMap(({ values }) =>
    values.map((number) => (number === undefined ? 0 : estimateTextWidth(barLabel(number), CHART_TEXT.body))),
  );
  const frame = {
    names: bars.map(({ name }) => name),
    // The longest bar may end at the edge of the axis, with its label beyond.
    ...(horizontal ? { across: value, right: Math.max(...labelWidths) + 8 } : { up: value }),
  };
  return draw(chart, frame, {
    // Rows are read from the top; ECharts counts them from the bottom.
    ...(horizontal
      ? { xAxis: valueAxis, yAxis: { ...categoryAxis, inverse: true } }
      : { xAxis: categoryAxis, yAxis: valueAxis }),
    series: bars.flatMap((group, at) => [
      isDots ? dotSeries(group, at, horizontal, barLabel) : barSeries(group, at, horizontal, barLabel),
      ...barSpread(group, at, bars.length, horizontal, barLabel),
    ]),
  });
}

type AxisLabel = Pick<ChartAxis, 'label' | 'unit'>;

/** What is around the plot. */
interface Frame {
  /** Names for the legend, which a single one does not need. */
  readonly names: readonly string[];
  /** Axes of numbers; the upward one has its label on top of the plot. */
  readonly across?: AxisLabel;
  readonly up?: AxisLabel;
  /** Pixels to the right of the plot. Default: room for half of the last tick label. */
  readonly right?: number;
}

/** From the top: title, legend, label of the upward axis, plot. */
function draw(
  chart: ChartBase,
  { names, across, up, right = 18 }: Frame,
  plot: Pick<ChartOption, 'xAxis' | 'yAxis' | 'series'>,
): Promise<Chart> {
  const { width = DEFAULT_WIDTH, height = DEFAULT_HEIGHT } = chart;
  const titles: { text: string; top: number; left: number; padding: number; textStyle: object }[] = [];
  let top = 0;
  if (chart.title !== undefined) {
    const textStyle = { ...bodyText(CHART_INK.text), fontSize: CHART_TEXT.title, fontWeight: 600 };
    titles.push({ text: onOneLine(chart.title), top, left: 0, padding: 0, textStyle });
    top += 28;
  }
  const legendTop = top;
  if (names.length > 1) top += legendHeight(names, width) + 12;
  if (up !== undefined) {
    titles.push({
      text: axisText(up),
      top,
      left: 0,
      padding: 0,
      textStyle: { ...bodyText(CHART_INK.muted), fontWeight: 400 },
    });
    top += 24;
  }
  const axes = [up, across].flatMap((axis) => (axis === undefined ? [] : [axis.label])).join(' against ');
  return Chart.render(
    {
      textStyle: { fontFamily: CHART_FONT },
      title: titles,
      legend: {
        show: names.length > 1,
        data: names.map(onOneLine),
        top: legendTop,
        left: 0,
        padding: 0,
        itemGap: LEGEND.gap,
        itemWidth: LEGEND.iconWidth,
        itemHeight: LEGEND.iconHeight,
        selectedMode: false,
        textStyle: bodyText(CHART_INK.text),
      },
      grid: { top: top + 4, left: 2, right, bottom: 2, outerBoundsMode: 'same', outerBoundsContain: 'all' },
      ...plot,
    },
    { width, height, description: chart.description ?? chart.title ?? axes },
  );
}

/** Pixels between the items of a legend, across and down, and the size of an item's icon. */
const LEGEND = { gap: 14, iconWidth: 24, iconHeight: 11, rowHeight: 14 } as const;

/** Height of the legend, whose items wrap like words. */
function legendHeight(names: readonly string[], width: number): number {
  let rows = 1;
  let filled = 0;
  for (const name of names) {
    const item = LEGEND.iconWidth + 5 + estimateTextWidth(name, CHART_TEXT.body);
    if (filled > 0 && filled + item > width) {
      rows++;
      filled = 0;
    }
    filled += item + LEGEND.gap;
  }
  return rows * LEGEND.rowHeight + (rows - 1) * LEGEND.gap;
}

function axisText({ label, unit }: AxisLabel): string {
  return onOneLine(unit === undefined ? label : `${label} (${unit})`);
}

/** The label of a horizontal axis, centred under it. */
function axisName(axis: AxisLabel): object {
  return { name: axisText(axis), nameLocation: 'middle', nameGap: 30, nameTextStyle: bodyText(CHART_INK.muted) };
}

function numericAxis(axis: ChartAxis) {
  const { scale = 'linear', fromZero = false, min, max } = axis;
  const format = axis.format ?? (scale === 'log2' ? formatTokens : formatNumber);
  const style = {
    min,
    max,
    axisLine: { show: true, lineStyle: { color: CHART_INK.line } },
    axisTick: { show: true, lineStyle: { color: CHART_INK.line } },
    splitLine: { show: true, lineStyle: { color: CHART_INK.grid } },
    axisLabel: { ...bodyText(CHART_INK.muted), formatter: (value: number) => format(value), hideOverlap: true },
  };
  return scale === 'linear'
    ? ({ ...style, type: 'value', scale: !fromZero } as const)
    : ({ ...style, type: 'log', logBase: scale === 'log2' ? 2 : 10 } as const);
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

function lineSeries(line: ChartLine, at: number): LineSeriesOption {
  const { colour, symbol, dash } = seriesStyle(at);
  return {
    type: 'line',
    name: onOneLine(line.name),
    data: line.points.map(({ x, y }) => [x, Number.isFinite(y) ? y : NaN]),
    showSymbol: line.points.length <= MOST_MARKERS,
    symbol,
    symbolSize: symbol.toLowerCase().includes('triangle') || symbol === 'diamond' ? 9 : 7,
    sampling: 'lttb',
    lineStyle: { width: 2, type: dash },
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
function spreadSeries(line: ChartLine, at: number, clip: boolean): CustomSeriesOption[] {
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
