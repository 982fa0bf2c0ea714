/** A chart of lines that grow while one looks: uPlot on a canvas, in the colours of the page. */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useEffect, useRef } from 'preact/hooks';
import { watchScheme } from './scheme.tsx';

export interface ChartLine {
  readonly name: string;
  /** As long as the chart's `x`; null where there is no value. */
  readonly values: readonly (number | null)[];
  /** Draws dashes, so that lines differ without colour. */
  readonly dashed?: boolean;
}

export interface LineChartProps {
  /** What the chart shows, in one sentence; the last values are added to it. */
  readonly title: string;
  /** Ascending. */
  readonly x: readonly number[];
  readonly xName: string;
  /** At most four. */
  readonly lines: readonly ChartLine[];
  /** How values of the axis are written. */
  readonly format: (value: number) => string;
  /** How values along `x` are written. Default: in short. */
  readonly formatX?: (value: number) => string;
  /** Pixels. Default 140. */
  readonly height?: number;
}

const seriesColours = ['--series-0', '--series-1', '--series-2', '--series-3'];

export function LineChart({ title, x, xName, lines, format, formatX = String, height = 140 }: LineChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  // The chart is built again when the colours change, with what is shown by then.
  const latest = useRef({ format, formatX, x, lines });
  latest.current = { format, formatX, x, lines };
  const names = lines.map(({ name }) => name).join('\n');
  const dashes = lines.map(({ dashed = false }) => dashed);

  useEffect(() => {
    const target = place.current;
    if (target === null) return;
    const build = (): void => {
      chart.current?.destroy();
      const style = getComputedStyle(target);
      const colour = (name: string): string => style.getPropertyValue(name).trim();
      const axis = { stroke: colour('--muted'), grid: { stroke: colour('--grid'), width: 1 }, font: '11px sans-serif' };
      chart.current = new uPlot(
        {
          width: Math.max(40, target.clientWidth),
          height,
          legend: { show: false },
          cursor: { show: false },
          scales: { x: { time: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
          axes: [
            { ...axis, ticks: { show: false }, size: 24, values: (_, at) => at.map((v) => latest.current.formatX(v)) },
            { ...axis, ticks: { show: false }, size: 64, values: (_, at) => at.map((v) => latest.current.format(v)) },
          ],
          series: [
            {},
            ...names.split('\n').map((label, at) => ({
              label,
              stroke: colour(seriesColours[at % seriesColours.length]),
              width: 2,
              dash: dashes[at] ? [6, 4] : undefined,
              points: { show: false },
            })),
          ],
        },
        tableOf(latest.current.x, latest.current.lines),
        target,
      );
    };
    build();
    const unwatch = watchScheme(build);
    const observer = new ResizeObserver(() => {
      chart.current?.setSize({ width: Math.max(40, target.clientWidth), height });
    });
    observer.observe(target);
    return () => {
      unwatch();
      observer.disconnect();
      chart.current?.destroy();
      chart.current = undefined;
    };
    // Values come by the effect below; the chart is made anew only for other lines.
  }, [names, dashes.join(), height]);

  useEffect(() => {
    chart.current?.setData(tableOf(x, lines));
  }, [x, lines]);

  const ends = lines.map(({ name, values }) => {
    const end = values.findLast((value) => value !== null);
    return { name, end: end === undefined || end === null ? '–' : format(end) };
  });
  return (
    <figure class="line-chart" aria-label={`${title}; ${xName} along the axis`}>
      <div ref={place} aria-hidden="true" />
      <figcaption>
        {ends.map(({ name, end }, at) => (
          <span key={name}>
            <span class={`key series-${at}`} aria-hidden="true" />
            {name}: {end}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function tableOf(x: readonly number[], lines: readonly ChartLine[]): uPlot.AlignedData {
  return [[...x], ...lines.map(({ values }) => [...values])];
}
