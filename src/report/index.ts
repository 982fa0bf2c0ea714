/** `linnet/report`: charts, tables, pages, and the records of runs (docs/reference/formats.md). */
export {
  type BarChartDescription,
  barChart,
  type ChartAxis,
  type ChartBars,
  type ChartLine,
  type ChartPoint,
  type LineChartDescription,
  lineChart,
} from './charts/chart.ts';
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
export { type TreeChartDescription, treeChart } from './charts/tree-chart.ts';
