/** What the charts of chart.ts consist of, in the types of ECharts, which need those of browsers: nothing public names them. */
import type { BarSeriesOption, CustomSeriesOption, LineSeriesOption } from 'echarts/charts';
import type { GridComponentOption, LegendComponentOption, TitleComponentOption } from 'echarts/components';
import type * as EChartsCore from 'echarts/core';

/** What the charts of chart.ts consist of. */
export type ChartOption = EChartsCore.ComposeOption<
  | LineSeriesOption
  | BarSeriesOption
  | CustomSeriesOption
  | GridComponentOption
  | LegendComponentOption
  | TitleComponentOption
>;
