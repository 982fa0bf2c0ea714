/** The axis under dots: the range of their values, from zero where leaving zero out would enlarge little, and what it says of that. */
import type { ChartBars } from './chart-description.ts';

/** What the axis is longer than the values, on each side that does not end at zero; a dot at its end would lie on the names. */
const MARGIN = 0.08;
/** Values that all lie beyond this share of the greatest are shown without zero. */
const FAR_FROM_ZERO = 1 / 3;
/** Steps between ticks, in tenths of a power of ten. */
const STEPS = [1, 2, 2.5, 5, 10] as const;

/** A linear axis whose ends are ticks. */
export interface DotAxis {
  readonly min: number;
  readonly max: number;
  /** From tick to tick. */
  readonly interval: number;
  /** Whether zero is on the axis. */
  readonly hasZero: boolean;
}

/**
 * The axis that shows all dots with their deviations.
 * @param parts into which ticks part the axis, about
 * @param most the end of the axis, where the caller has chosen one
 */
export function dotAxis(bars: readonly ChartBars[], parts: number, most?: number): DotAxis {
  const ends = bars.flatMap(({ values, deviations }) =>
    values.flatMap((value, category) => {
      if (value === undefined || !Number.isFinite(value)) return [];
      const given = deviations?.[category] ?? 0;
      const deviation = Number.isFinite(given) ? given : 0;
      return [value - deviation, value + deviation];
    }),
  );
  const least = ends.length === 0 ? 0 : Math.min(...ends);
  const greatest = ends.length === 0 ? 1 : Math.max(...ends);
  const low = least > 0 && least <= FAR_FROM_ZERO * greatest ? 0 : least;
  const isAllZero = least === 0 && greatest === 0;
  const high = isAllZero ? 1 : greatest < 0 && greatest >= FAR_FROM_ZERO * least ? 0 : greatest;
  const range = high - low || Math.abs(high) || 1;
  const from = low === 0 ? 0 : low - MARGIN * range;
  const to = most ?? (high === 0 && low !== 0 ? 0 : high + MARGIN * range);
  const interval = roundStep((to - from) / parts);
  const min = Math.floor(from / interval) * interval;
  const max = most ?? Math.ceil(to / interval) * interval;
  return { min, max, interval, hasZero: min <= 0 && max >= 0 };
}

/** The least of the usual steps that is not smaller. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * (STEPS.find((times) => times * power >= step * (1 - 1e-9)) ?? 10);
}
