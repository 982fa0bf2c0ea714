/** What stands around the plot of a chart: title, legend, labels, axes; drawn wide, and once more for narrow pages. */
import type { ChartAxis, ChartBase } from './chart-description.ts';
import type { ChartOption } from './chart-option.ts';
import { Chart } from './chart-renderer.ts';
import { CHART_FONT, CHART_INK, CHART_TEXT, estimateTextWidth } from './chart-style.ts';
import { formatNumber, formatTokens } from '../quantities.ts';

const DEFAULT_WIDTH = 720;
const DEFAULT_HEIGHT = 360;
/** Of the drawing for narrow pages: what a phone of 390 pixels has between its margins. */
const NARROW_WIDTH = 350;
const NARROW_HEIGHT = 300;

export type AxisLabel = Pick<ChartAxis, 'label' | 'unit'>;

/** What is around the plot. */
export interface Frame {
  /** Names for the legend, which a single one does not need. */
  readonly names: readonly string[];
  /** Axes of numbers; the upward one has its label on top of the plot. */
  readonly across?: AxisLabel;
  readonly up?: AxisLabel;
  /** Pixels to the right of the plot. Default: room for half of the last tick label. */
  readonly right?: number;
}

/** A plot and its frame, for one width. */
export interface Drawing {
  readonly frame: Frame;
  readonly plot: Pick<ChartOption, 'xAxis' | 'yAxis' | 'series'>;
  /** Pixels; default that of the chart. */
  readonly height?: number;
}

/** Draws a chart for wide and for narrow pages. @param drawing what there is at a width; `narrow` has no room for much */
export async function drawChart(chart: ChartBase, drawing: (room: 'wide' | 'narrow') => Drawing): Promise<Chart> {
  const [wide, narrow] = [drawing('wide'), drawing('narrow')];
  const { width = DEFAULT_WIDTH, height = DEFAULT_HEIGHT } = chart;
  const drawn = await draw(chart, wide, width, wide.height ?? height);
  return drawn.withNarrow(await draw(chart, narrow, NARROW_WIDTH, narrow.height ?? NARROW_HEIGHT));
}

/** From the top: title, legend, label of the upward axis, plot. */
function draw(chart: ChartBase, { frame, plot }: Drawing, width: number, height: number): Promise<Chart> {
  const { names, across, up, right = 18 } = frame;
  const titles: { text: string; top: number; left: number; padding: number; textStyle: object }[] = [];
  let top = 0;
  if (chart.title !== undefined) {
    const textStyle = { ...bodyText(CHART_INK.text), fontSize: CHART_TEXT.title, fontWeight: 600 };
    const lines = wrapped(onOneLine(chart.title), width);
    titles.push({ text: lines.join('\n'), top, left: 0, padding: 0, textStyle: { ...textStyle, lineHeight: 20 } });
    top += 8 + 20 * lines.length;
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

export function bodyText(color: string): { color: string; fontFamily: string; fontSize: number } {
  return { color, fontFamily: CHART_FONT, fontSize: CHART_TEXT.body };
}

/** Words in as many lines as the width takes. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines[lines.length - 1]} ${word}`;
    if (lines.length > 0 && estimateTextWidth(longer, CHART_TEXT.title) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

function axisText({ label, unit }: AxisLabel): string {
  return onOneLine(unit === undefined ? label : `${label} (${unit})`);
}

export function onOneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}

/** The label of a horizontal axis, centred under it. */
export function axisName(axis: AxisLabel): object {
  return { name: axisText(axis), nameLocation: 'middle', nameGap: 30, nameTextStyle: bodyText(CHART_INK.muted) };
}

export function numericAxis(axis: ChartAxis) {
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
