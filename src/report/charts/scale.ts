/** Axes of numbers: their ends, their ticks, and where values lie between the ends. */
import { formatNumber, formatTokens } from '../quantities.ts';
import type { ChartAxis } from './chart-description.ts';

export interface Scale {
  readonly min: number;
  readonly max: number;
  /** Ascending; where two are spelled alike the second is left out. */
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
  /** Where a value lies: 0 at the lower end, 1 at the upper one. */
  share(value: number): number;
}

/** Steps between ticks, in powers of ten. */
const STEPS = [1, 2, 2.5, 5, 10] as const;
/** Guards the ends of ranges against rounding. */
const EPSILON = 1e-9;
/** Powers of the base from which on a logarithmic axis has ticks at powers; below it has the ticks of a linear one. */
const FEWEST_POWERS = 1.5;

/** The least of the usual steps that is not smaller; of binary axes a power of two. */
function roundStep(least: number, isBinary: boolean): number {
  if (isBinary) return 2 ** Math.ceil(Math.log2(least) - EPSILON);
  const power = 10 ** Math.floor(Math.log10(least));
  return power * (STEPS.find((times) => times * power >= least * (1 - EPSILON)) ?? 10);
}

/** Least and greatest of the finite values; undefined where there is none. */
export function extent(values: readonly number[]): readonly [least: number, greatest: number] | undefined {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return undefined;
  return [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
}

/**
 * The scale that shows values.
 * @param parts into which ticks part the axis, about
 * @param isTight whether the axis ends with the values, not at ticks
 * @returns undefined where no value is finite
 */
export function scaleOf(axis: ChartAxis, values: readonly number[], parts: number, isTight = false): Scale | undefined {
  const found = extent(values);
  if (found === undefined) return undefined;
  const { scale = 'linear', fromZero = false, isBinary = false } = axis;
  const base = { linear: undefined, log2: 2, log10: 10 }[scale];
  let [low, high] = fromZero && base === undefined ? [Math.min(0, found[0]), Math.max(0, found[1])] : found;
  [low, high] = [axis.min ?? low, axis.max ?? high];
  if (low === high) [low, high] = base === undefined ? aroundValue(low, fromZero) : [low / base, high * base];
  const logarithm = (value: number): number => Math.log(value) / Math.log(base ?? Math.E);
  let ticks: number[];
  if (base !== undefined && logarithm(high / low) >= FEWEST_POWERS) {
    const [first, last] = isTight
      ? [Math.ceil(logarithm(low) - EPSILON), Math.floor(logarithm(high) + EPSILON)]
      : [Math.floor(logarithm(low) + EPSILON), Math.ceil(logarithm(high) - EPSILON)];
    ticks = Array.from({ length: last - first + 1 }, (_, at) => base ** (first + at));
    if (!isTight) [low, high] = [axis.min ?? base ** first, axis.max ?? base ** last];
  } else {
    const step = roundStep((high - low) / parts, isBinary);
    const floor = Math.floor(low / step + EPSILON) * step;
    if (!isTight && axis.min === undefined && (base === undefined || floor > 0)) low = floor;
    if (!isTight) high = axis.max ?? Math.ceil(high / step - EPSILON) * step;
    const [first, last] = [Math.ceil(low / step - EPSILON), Math.floor(high / step + EPSILON)];
    ticks = Array.from({ length: last - first + 1 }, (_, at) => (first + at) * step);
  }
  const position = (value: number): number => (base === undefined ? value : logarithm(value));
  const format = axis.format ?? (scale === 'log2' ? formatTokens : formatNumber);
  const spelled = ticks.map((value) => ({ value, text: format(value) }));
  return {
    min: low,
    max: high,
    ticks: spelled.filter(({ text }, at) => at === 0 || text !== spelled[at - 1].text),
    share: (value) => (position(value) - position(low)) / (position(high) - position(low)),
  };
}

/** Ends around the only value there is. */
function aroundValue(value: number, fromZero: boolean): [low: number, high: number] {
  const room = 0.1 * Math.abs(value) || 1;
  return [fromZero && value === 0 ? 0 : value - room, value + room];
}

/** What the axis under dots is longer than their values, on each side that does not end at zero; a dot at its end would lie on names. */
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
