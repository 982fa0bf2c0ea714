/** Values as dots with their spreads: for what differs by little, on an axis that need not begin at zero. */
import type { CustomSeriesOption } from 'echarts/charts';
import type { ChartBars } from './chart-description.ts';
import { bodyText, onOneLine } from './chart-frame.ts';
import { CHART_INK, seriesStyle } from './chart-style.ts';

/** Pixels from the dots of one group to those of the next. */
export const dotPitch = 18;
const radius = 5;
const cap = 4;

interface Dot {
  readonly category: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Shapes by group, so that groups differ without colour; around (0, 0). */
const outlines = [
  `M${-radius} 0A${radius} ${radius} 0 1 1 ${radius} 0A${radius} ${radius} 0 1 1 ${-radius} 0Z`,
  'M-4.5 -4.5H4.5V4.5H-4.5Z',
  'M0 -5.5L5.5 4.5H-5.5Z',
  'M0 -6L6 0L0 6L-6 0Z',
];

/**
 * The dots of group `at` of `count`, each with its value.
 * @param horizontal whether values grow to the right
 */
export function dotSeries(
  { name, values, deviations }: ChartBars,
  at: number,
  count: number,
  horizontal: boolean,
  label: (value: number) => string,
): CustomSeriesOption[] {
  const dots = values.flatMap((value, category): Dot[] => {
    if (value === undefined || !Number.isFinite(value)) return [];
    const given = deviations?.[category] ?? 0;
    const deviation = Number.isFinite(given) ? given : 0;
    return [{ category, value, low: value - deviation, high: value + deviation }];
  });
  const { colour } = seriesStyle(at);
  const offset = (at - (count - 1) / 2) * dotPitch;
  const { fontFamily, fontSize } = bodyText('');
  return [
    {
      type: 'custom',
      name: onOneLine(name),
      color: colour,
      data: dots.map(({ category, low, high }) => (horizontal ? [low, category, high] : [category, low, high])),
      encode: horizontal ? { x: [0, 2], y: 1 } : { x: 0, y: [1, 2] },
      clip: false,
      z: 4,
      renderItem: ({ dataIndex }, api) => {
        const { category, value, low, high } = dots[dataIndex];
        const [from, centre, to] = [low, value, high].map((number) => {
          const [x, y] = api.coord(horizontal ? [number, category] : [category, number]);
          return horizontal ? ([x, y + offset] as const) : ([x + offset, y] as const);
        });
        const line = (x1: number, y1: number, x2: number, y2: number) =>
          ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: colour, lineWidth: 1.5 } }) as const;
        const capAt = ([x, y]: readonly [number, number]) =>
          horizontal ? line(x, y - cap, x, y + cap) : line(x - cap, y, x + cap, y);
        const spread = low === high ? [] : [line(from[0], from[1], to[0], to[1]), capAt(from), capAt(to)];
        return {
          type: 'group',
          children: [
            ...spread,
            {
              type: 'path' as const,
              x: centre[0],
              y: centre[1],
              shape: {
                pathData: outlines[at % outlines.length],
                x: -6,
                y: -6,
                width: 12,
                height: 12,
                layout: 'center' as const,
              },
              style: { fill: colour },
            },
            {
              type: 'text' as const,
              x: horizontal ? Math.max(centre[0] + radius, to[0]) + 6 : to[0],
              y: horizontal ? to[1] : Math.min(centre[1] - radius, to[1]) - 4,
              style: {
                ...{ text: label(value), fill: CHART_INK.text, fontFamily, fontSize },
                align: horizontal ? ('left' as const) : ('center' as const),
                verticalAlign: horizontal ? ('middle' as const) : ('bottom' as const),
              },
            },
          ],
        };
      },
    },
  ];
}
