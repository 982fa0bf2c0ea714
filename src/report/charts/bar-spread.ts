/** Error bars on bars: a line along the bar's direction with a cap at each end, in the middle of the bar, and the value beyond. */
import type { CustomSeriesOption } from 'echarts/charts';
import { CHART_FONT, CHART_INK, CHART_TEXT } from './chart-style.ts';

/** How bars of several groups share a category; the same for bars and their error bars. */
export const barLayout = { barGap: '12%' } as const;
/** Widest bar in pixels. */
export const barWidth = { horizontal: 24, vertical: 56 } as const;

/** One group of bars. */
export interface SpreadBars {
  readonly values: readonly (number | undefined)[];
  /** Half the length of each error bar; undefined or NaN where there is none. */
  readonly deviations?: readonly (number | undefined)[];
}

interface Spread {
  readonly category: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const cap = 3;
/** Pixels from the end of an error bar to the value. */
const beyond = 5;

/** Whether a bar has an error bar, which then carries its value: on the bar the line would run through it. */
export function hasSpread({ values, deviations }: SpreadBars, category: number): boolean {
  return Number.isFinite((values[category] ?? Number.NaN) + (deviations?.[category] ?? Number.NaN));
}

/**
 * The error bars of group `at` of `count`; empty where no bar has a deviation.
 * @param horizontal whether bars grow to the right
 * @param label spells a value
 */
export function barSpread(
  bars: SpreadBars,
  at: number,
  count: number,
  horizontal: boolean,
  label: (value: number) => string,
): CustomSeriesOption[] {
  const spreads = bars.values.flatMap((value, category): Spread[] => {
    const deviation = bars.deviations?.[category];
    if (value === undefined || deviation === undefined || !hasSpread(bars, category)) return [];
    return [{ category, value, low: Math.max(0, value - deviation), high: value + deviation }];
  });
  if (spreads.length === 0) return [];
  return [
    {
      type: 'custom',
      // Without a name of its own it stays out of the legend.
      data: spreads.map(({ category, low, high }) => (horizontal ? [low, category, high] : [category, low, high])),
      encode: horizontal ? { x: [0, 2], y: 1 } : { x: 0, y: [1, 2] },
      renderItem: ({ dataIndex }, api) => {
        const { category, value, low, high } = spreads[dataIndex];
        const layouts = api.barLayout?.({ ...barLayout, barMaxWidth: widest(horizontal), count });
        const offset = layouts?.[at]?.offsetCenter ?? 0;
        const [from, to] = [low, high].map((end) => {
          const [x, y] = api.coord(horizontal ? [end, category] : [category, end]);
          return horizontal ? [x, y + offset] : [x + offset, y];
        });
        const line = (start: readonly number[], end: readonly number[]) =>
          ({
            type: 'line',
            shape: { x1: start[0], y1: start[1], x2: end[0], y2: end[1] },
            style: { stroke: CHART_INK.text, lineWidth: 1.2 },
          }) as const;
        const capAt = ([x, y]: readonly number[]) =>
          horizontal ? line([x, y - cap], [x, y + cap]) : line([x - cap, y], [x + cap, y]);
        const place = horizontal
          ? ({ x: to[0] + beyond, y: to[1], align: 'left', verticalAlign: 'middle' } as const)
          : ({ x: to[0], y: to[1] - beyond, align: 'center', verticalAlign: 'bottom' } as const);
        const font = `${CHART_TEXT.body}px ${CHART_FONT}`;
        const number = {
          type: 'text',
          style: { text: label(value), fill: CHART_INK.text, font, ...place },
        } as const;
        return { type: 'group', children: [line(from, to), capAt(from), capAt(to), number] };
      },
      z: 4,
    },
  ];
}

function widest(horizontal: boolean): number {
  return horizontal ? barWidth.horizontal : barWidth.vertical;
}
