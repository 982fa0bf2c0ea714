/** A chart of lines that grow while one looks: uPlot on a canvas, in the colours of the page. */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useEffect, useRef, useState } from 'preact/hooks';
import { themeColours, watchScheme } from './scheme.tsx';

export interface GrowingLine {
  readonly name: string;
  /** As long as the chart's `x`; null where there is no value. */
  readonly values: readonly (number | null)[];
  /** Which of the six styles it has, the same in every chart that shows it. Default: its place in the list. */
  readonly style?: number;
  /** Draws dashes, so that lines differ without colour. */
  readonly dashed?: boolean;
}

export interface LineChartProps {
  /** What the chart shows, in one sentence; the last values are added to it. */
  readonly title: string;
  /** Ascending. */
  readonly x: readonly number[];
  readonly xName: string;
  /** At most six. */
  readonly lines: readonly GrowingLine[];
  /** How values of the axis are written. */
  readonly format: (value: number) => string;
  /** How values along `x` are written. Default: in short. */
  readonly formatX?: (value: number) => string;
  /** Pixels. Default 140. */
  readonly height?: number;
  /** `zero`: the axis of values begins at zero. `data`: it is that of the values. `log`: so is its logarithm. Default `zero`. */
  readonly range?: keyof typeof ranges;
  /** Draws a line on where it has no value, as where lines have values at places of their own. Default false. */
  readonly joinsGaps?: boolean;
  /** Shows the values under the pointer in place of the last ones. Default false. */
  readonly follows?: boolean;
}

const seriesColours = Array.from({ length: 6 }, (_, at) => `--series-${at}`);
/** Dashes by place in the list, so that lines differ without colour. */
const seriesDashes = [[], [6, 4], [2, 3], [10, 3, 2, 3], [12, 4], [4, 2]];

const ranges = {
  zero: { range: (_: uPlot, __: number, most: number): uPlot.Range.MinMax => [0, most > 0 ? most * 1.1 : 1] },
  data: {
    range(_: uPlot, least: number | null, most: number | null): uPlot.Range.MinMax {
      if (least === null || most === null) return [0, 1];
      const room = most > least ? 0.06 * (most - least) : 0.1 * Math.abs(most) || 1;
      return [least - room, most + room];
    },
  },
  log: {
    distr: 3 as const,
    log: 10 as const,
    range(_: uPlot, least: number | null, most: number | null): uPlot.Range.MinMax {
      return least === null || most === null || least <= 0 ? [0.1, 10] : [least / 1.1, most * 1.1];
    },
  },
};

export function LineChart(props: LineChartProps) {
  const { title, x, xName, lines, format, formatX = String, height = 140 } = props;
  const { range = 'zero', joinsGaps = false, follows = false } = props;
  const [pointed, setPointed] = useState<number | undefined>(undefined);
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  // The chart is built again when the colours change, with what is shown by then.
  const latest = useRef({ format, formatX, x, lines });
  latest.current = { format, formatX, x, lines };
  const names = lines.map(({ name }) => name).join('\n');
  const dashes = lines.map(({ dashed = false }) => dashed);
  const styles = lines.map(({ style }, at) => (style ?? at) % seriesColours.length);

  useEffect(() => {
    const target = place.current;
    if (target === null) return;
    const build = (): void => {
      chart.current?.destroy();
      const colour = themeColours(target);
      const axis = { stroke: colour('--muted'), grid: { stroke: colour('--grid'), width: 1 }, font: '11px sans-serif' };
      chart.current = new uPlot(
        {
          width: Math.max(40, target.clientWidth),
          height,
          legend: { show: false },
          cursor: follows ? { y: false, drag: { x: false, y: false }, points: { size: 6 } } : { show: false },
          hooks: { setCursor: follows ? [({ cursor: { idx } }) => setPointed(idx ?? undefined)] : [] },
          scales: { x: { time: false }, y: ranges[range] },
          axes: [
            { ...axis, ticks: { show: false }, size: 24, values: (_, at) => at.map((v) => latest.current.formatX(v)) },
            { ...axis, ticks: { show: false }, size: 64, values: (_, at) => at.map((v) => latest.current.format(v)) },
          ],
          series: [
            {},
            ...names.split('\n').map((label, at) => ({
              label,
              stroke: colour(seriesColours[styles[at]]),
              width: 2,
              dash: dashes[at] ? seriesDashes[1] : joinsGaps ? seriesDashes[styles[at]] : undefined,
              spanGaps: joinsGaps,
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
  }, [names, dashes.join(), styles.join(), height, range, joinsGaps, follows]);

  useEffect(() => {
    chart.current?.setData(tableOf(x, lines));
  }, [x, lines]);

  const at = pointed !== undefined && pointed < x.length ? pointed : undefined;
  const ends = lines.map(({ name, values }) => {
    const shown = at === undefined ? values : values.slice(0, at + 1);
    const end = shown.findLast((value) => value !== null);
    return { name, end: end === undefined || end === null ? '–' : format(end) };
  });
  return (
    <figure class="line-chart" aria-label={`${title}; ${xName} along the axis`}>
      <div ref={place} aria-hidden="true" />
      <figcaption>
        {follows && <span class="at">{at === undefined ? 'last' : `at ${formatX(x[at])}`}</span>}
        {ends.map(({ name, end }, index) => (
          <span key={name}>
            <span class={`key series-${styles[index]}`} aria-hidden="true" />
            {name}: {end}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function tableOf(x: readonly number[], lines: readonly GrowingLine[]): uPlot.AlignedData {
  return [[...x], ...lines.map(({ values }) => [...values])];
}
