/** `linnet/report`: charts, tables, pages, and the records of runs (docs/reference/formats.md). */
export { barChart, lineChart } from './charts/chart.ts';
export type {
  BarChartDescription,
  ChartAxis,
  ChartBars,
  ChartLine,
  ChartPoint,
  LineChartDescription,
} from './charts/chart-description.ts';
export { Chart } from './charts/chart-renderer.ts';
export { type Block, type Report, renderReport, type Section, writeReport } from './html.ts';
export {
  type Metric,
  openRun,
  type OpenRunOptions,
  type Run,
  type RunDescription,
  type RunRecord,
  readRun,
} from './record.ts';
export { type Column, makeTable, markdownTable, type Table, textTable } from './table.ts';
