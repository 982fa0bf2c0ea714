/** A live line chart, drawn like report charts, in the page's colors. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ChartAxis } from '../../src/report/charts/chart-description.ts';
import { framed } from '../../src/report/charts/chart-frame.ts';
import { CHART_INK, lightSeries } from '../../src/report/charts/chart-style.ts';
import { lineView } from '../../src/report/charts/chart.ts';
import type { SvgElement } from '../../src/report/charts/svg-element.ts';

export interface GrowingLine {
  readonly name: string;
  /** As long as the chart's `x`; null for no value. */
  readonly values: readonly (number | null)[];
  /** Which of the six styles it has, the same in every chart that shows it. Default: its place in the list. */
  readonly style?: number;
  /** Draws dashes, so that lines differ without color. */
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
  /** Value axis: `zero` starts at zero, `data` spans the values, `log` spans them logarithmically. Default `zero`. */
  readonly range?: keyof typeof ranges;
  /** Ticks at multiples of powers of two, as bytes want them. Default false. */
  readonly isBinary?: boolean;
  /** Connects a line across missing values, for lines with values at different places. Default false. */
  readonly joinsGaps?: boolean;
  /** Shows the values under the pointer instead of the last ones. Default false. */
  readonly follows?: boolean;
}

const ranges = {
  zero: { fromZero: true },
  data: {},
  log: { scale: 'log10' },
} as const satisfies Record<string, Partial<ChartAxis>>;

/** Maps drawing colors to the page's. */
const themed = new Map<string | number, string>([
  ...Object.entries(CHART_INK).map(([name, ink]) => [ink, `var(--${name})`] as const),
  ...lightSeries.map((ink, at) => [ink, `var(--series-${at % 6})`] as const),
]);

export function LineChart(props: LineChartProps) {
  const { title, x, xName, lines, format, formatX = String, height = 140 } = props;
  const { range = 'zero', isBinary = false, joinsGaps = false, follows = false } = props;
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [pointed, setPointed] = useState<number | undefined>(undefined);
  useEffect(() => {
    const target = place.current;
    if (target === null) return undefined;
    const observer = new ResizeObserver(() => setWidth(target.clientWidth));
    observer.observe(target);
    return () => observer.disconnect();
  }, []);

  const styles = lines.map(({ style }, at) => (style ?? at) % 6);
  const view = lineView(
    {
      x: { label: '', format: formatX },
      y: { label: '', format, isBinary, ...ranges[range] },
      lines: lines.map(({ name, values, dashed }, line) => ({
        ...{ name, style: styles[line], isDashed: dashed ?? (joinsGaps && styles[line] % 2 === 1) },
        points: values.flatMap((value, at) =>
          value === null && joinsGaps ? [] : [{ x: x[at], y: isShown(value, range) ? value : NaN }],
        ),
      })),
    },
    width < 480 ? 'narrow' : 'wide',
    false,
  );
  const [across, up] = [view.across, view.up].map((axis) => ({ ...axis, name: undefined }));
  const isEmpty = across.labels.length === 0;
  const { elements, left, right } = framed(undefined, { ...view, names: [], across, up }, Math.max(40, width), height);
  const [first, last] = [x[0] ?? 0, x[x.length - 1] ?? 0];
  const pixelOf = (value: number): number => left + ((value - first) / (last - first || 1)) * (right - left);
  const at = pointed !== undefined && pointed < x.length ? pointed : undefined;
  const ends = lines.map(({ name, values }) => {
    const shown = at === undefined ? values : values.slice(0, at + 1);
    const end = shown.findLast((value) => value !== null);
    return { name, end: end === undefined || end === null ? '–' : format(end) };
  });
  return (
    <figure class="line-chart" aria-label={`${title}; ${xName} along the axis`}>
      <div
        ref={place}
        aria-hidden="true"
        onPointerMove={follows ? ({ offsetX }) => setPointed(nearest(x, pixelOf, offsetX)) : undefined}
        onPointerLeave={() => setPointed(undefined)}
      >
        <svg width="100%" height={height}>
          {!isEmpty && elements.map((element, index) => <Drawn key={index} element={element} />)}
          {at !== undefined && <path d={`M${pixelOf(x[at])} 0V${height - 24}`} stroke="var(--muted)" />}
        </svg>
      </div>
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

/** Whether a value is drawn: it exists, and so does its logarithm if shown. */
function isShown(value: number | null, range: keyof typeof ranges): value is number {
  return value !== null && (range !== 'log' || value > 0);
}

/** Index of the drawn value nearest to a pixel. */
function nearest(x: readonly number[], pixelOf: (value: number) => number, pixel: number): number | undefined {
  const distances = x.map((value) => Math.abs(pixelOf(value) - pixel));
  const least = distances.reduce((a, b) => Math.min(a, b), Infinity);
  return x.length === 0 ? undefined : distances.indexOf(least);
}

function Drawn({ element: { tag: Tag, attributes = {}, content = '' } }: { readonly element: SvgElement }) {
  const coloured = Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [name, themed.get(value) ?? value]),
  );
  return (
    <Tag {...coloured}>
      {typeof content === 'string' ? content : content.map((inner, at) => <Drawn key={at} element={inner} />)}
    </Tag>
  );
}
