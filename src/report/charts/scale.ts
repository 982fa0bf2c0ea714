/** Number axes, by d3-scale: ends, ticks, and the positions of values between the ends. */
import { extent as extentOf, range } from 'd3-array';
import { scaleLinear, scaleLog } from 'd3-scale';
import { formatNumber, formatTokens } from '../quantities.ts';
import type { ChartAxis } from './chart-description.ts';

export interface Scale {
  readonly min: number;
  readonly max: number;
  /** Ascending; of two with the same text, the second is left out. */
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
  /** Where a value lies: 0 at the lower end, 1 at the upper one. */
  share(value: number): number;
}

/** Powers of the base from which on a logarithmic axis has ticks at powers; below it has the ticks of a linear one. */
const FEWEST_POWERS = 1.5;

/** Least and greatest finite value, if any. */
export function extent(values: readonly number[]): readonly [least: number, greatest: number] | undefined {
  const [least, greatest] = extentOf(values.filter(Number.isFinite));
  return least === undefined || greatest === undefined ? undefined : [least, greatest];
}

/**
 * The scale that shows values.
 * @param parts into which ticks part the axis, about
 * @param isTight whether the axis ends with the values, not at ticks
 * @returns undefined if no value is finite
 */
export function scaleOf(axis: ChartAxis, values: readonly number[], parts: number, isTight = false): Scale | undefined {
  const found = extent(values);
  if (found === undefined) return undefined;
  const { scale = 'linear', fromZero = false, isBinary = false } = axis;
  const base = { linear: undefined, log2: 2, log10: 10 }[scale];
  let [low, high] = fromZero && base === undefined ? [Math.min(0, found[0]), Math.max(0, found[1])] : found;
  [low, high] = [axis.min ?? low, axis.max ?? high];
  if (low === high) [low, high] = base === undefined ? aroundValue(low, fromZero) : [low / base, high * base];
  const hasPowers = base !== undefined && Math.log(high / low) >= FEWEST_POWERS * Math.log(base);
  const linear = scaleLinear([low, high], [0, 1]);
  const ends = isTight ? linear : linear.nice(parts);
  let [first, last] = ends.domain();
  let ticks = ends.ticks(parts);
  if (isBinary) {
    const step = 2 ** Math.ceil(Math.log2((high - low) / parts));
    if (!isTight) [first, last] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
    ticks = range(Math.ceil(first / step), Math.floor(last / step) + 1).map((at) => at * step);
  }
  if (base !== undefined) {
    const powers = scaleLog([low, high], [0, 1]).base(base);
    if (hasPowers) {
      if (!isTight) powers.nice();
      [first, last] = powers.domain();
      const [from, to] = [first, last].map((end) => Math.round((1e9 * Math.log(end)) / Math.log(base)) / 1e9);
      ticks = range(Math.ceil(from), Math.floor(to) + 1).map((power) => base ** power);
    } else if (first <= 0) first = low;
  }
  [first, last] = [axis.min ?? first, axis.max ?? last];
  const format = axis.format ?? (scale === 'log2' ? formatTokens : formatNumber);
  const shown = ticks.filter((value) => value >= first && value <= last);
  const spelled = shown.map((value) => ({ value, text: format(value) }));
  const position = base === undefined ? scaleLinear([first, last], [0, 1]) : scaleLog([first, last], [0, 1]).base(base);
  return {
    min: first,
    max: last,
    ticks: spelled.filter(({ text }, at) => at === 0 || text !== spelled[at - 1].text),
    share: (value) => position(value),
  };
}

/** Ends around the only value there is. */
function aroundValue(value: number, fromZero: boolean): [low: number, high: number] {
  const room = 0.1 * Math.abs(value) || 1;
  return [fromZero && value === 0 ? 0 : value - room, value + room];
}

/** Share of the range that is added at each end of an axis under dots that is not zero, so that no dot lies on names. */
const MARGIN = 0.08;
/** Dots that all lie beyond this share of the greatest are shown without zero. */
const FAR_FROM_ZERO = 1 / 3;

/** The ends of an axis under dots, which has zero where leaving it out would enlarge little. */
export function dotEnds(values: readonly number[]): readonly number[] {
  const [least, greatest] = extent(values) ?? [];
  if (least === undefined || greatest === undefined) return [];
  if (least === 0 && greatest === 0) return [0, 1];
  const low = least > 0 && least <= FAR_FROM_ZERO * greatest ? 0 : least;
  const high = greatest < 0 && greatest >= FAR_FROM_ZERO * least ? 0 : greatest;
  const room = MARGIN * (high - low || Math.abs(high));
  return [low === 0 ? 0 : low - room, high === 0 ? 0 : high + room];
}
