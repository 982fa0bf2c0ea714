/** What a bar chart draws for a group of values: bars from zero, or dots. */
import type { BarSeriesOption, LineSeriesOption } from 'echarts/charts';
import { barLayout, barWidth, hasSpread, type SpreadBars } from './bar-spread.ts';
import { bodyText, CHART_INK, onOneLine, seriesStyle } from './chart-style.ts';

interface NamedBars extends SpreadBars {
  readonly name: string;
}

/** Bars of one group, each labelled with its value; where a bar has a spread, that carries the value. */
export function barSeries(
  group: NamedBars,
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

/** The values as dots, without a line between them. */
export function dotSeries(
  group: NamedBars,
  at: number,
  horizontal: boolean,
  label: (value: number) => string,
): LineSeriesOption {
  const { name, values } = group;
  const { colour, symbol } = seriesStyle(at);
  const points = values.map((number, place) => ({
    value: horizontal ? [number ?? NaN, place] : [place, number ?? NaN],
    label: { show: !hasSpread(group, place) },
  }));
  return {
    ...{ type: 'line', name: onOneLine(name), data: points, symbol, symbolSize: 9, lineStyle: { width: 0 } },
    itemStyle: { color: colour },
    label: {
      ...{ show: true, position: horizontal ? 'right' : 'top', ...bodyText(CHART_INK.text) },
      formatter: ({ dataIndex }) => label(values[dataIndex] ?? NaN),
    },
  };
}
