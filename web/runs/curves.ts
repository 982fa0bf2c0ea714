/** Turns runs' records into chart curves: smoothed, over steps, tokens or time, on one common axis. */
import type { Curve } from '../../src/runs/series.ts';
import type { ListedRun, RunCurves } from '../../src/runs/watched-runs.ts';

/** Possible horizontal axes. */
export const axes = { steps: 'optimizer steps', tokens: 'tokens', minutes: 'minutes of training' } as const;
export type Axis = keyof typeof axes;

/** Most lines in a chart; beyond that they are hard to tell apart. */
export const mostLines = 6;

/** A curve with the name of its run, and of its stage or trial. */
export interface NamedCurve {
  readonly name: string;
  readonly curve: Curve;
  /** The same in every chart for a run, stage or trial. */
  readonly style: number;
}

export interface ChartKind {
  readonly title: string;
  /** A group's curve, if any. */
  readonly of: (curves: Readonly<Record<string, Curve>>) => Curve | undefined;
  /** Only for groups whose loss measures this quantity. */
  readonly quantity?: string;
  /** Whether smoothing helps. */
  readonly isNoisy: boolean;
  /** Whether the axis begins at zero. */
  readonly fromZero?: boolean;
  /** Whether the logarithm may be shown. */
  readonly mayBeLog?: boolean;
}

const otherKinds: readonly ChartKind[] = [
  {
    title: 'Held-out perplexity',
    of: ({ heldOutLoss }) =>
      heldOutLoss === undefined ? undefined : { x: heldOutLoss.x, y: heldOutLoss.y.map((loss) => Math.exp(loss)) },
    isNoisy: false,
    mayBeLog: true,
  },
  { title: 'Learning rate', of: ({ learningRate }) => learningRate, isNoisy: false, fromZero: true },
  { title: 'Gradient norm', of: ({ gradientNorm }) => gradientNorm, isNoisy: true, mayBeLog: true },
  { title: 'Tokens per second', of: tokensPerSecond, isNoisy: true, fromZero: true },
];

/** The runs' charts: one loss chart for each measured quantity, with its own axis, then the others. */
export function chartKindsOf(all: readonly RunCurves[]): ChartKind[] {
  const measured = all.flatMap(({ groups }) => groups.filter(({ curves }) => curves.loss !== undefined));
  const quantities = [...new Set(measured.map(({ quantity }) => quantity))];
  const losses = quantities.map((quantity): ChartKind => {
    return { title: quantity, quantity, of: ({ loss }) => loss, isNoisy: true, mayBeLog: true };
  });
  return [...losses, ...otherKinds];
}

/** `seconds` is per step; `tokens` counts from the start. */
function tokensPerSecond({ tokens, seconds }: Readonly<Record<string, Curve>>): Curve | undefined {
  if (tokens === undefined || seconds === undefined || tokens.x.length < 2) return undefined;
  const count = Math.min(tokens.x.length, seconds.x.length);
  const each = (at: number): number =>
    (tokens.y[at] - (at === 0 ? 0 : tokens.y[at - 1])) / (tokens.x[at] - (at === 0 ? 0 : tokens.x[at - 1]));
  return {
    x: tokens.x.slice(0, count),
    y: seconds.y.slice(0, count).map((time, at) => (time > 0 ? each(at) / time : 0)),
  };
}

/** A kind's curves in all chosen runs; for a study or conversion, the last stages or trials. */
export function curvesOf(
  { of, quantity }: ChartKind,
  runs: readonly ListedRun[],
  all: readonly RunCurves[],
  axis: Axis,
): NamedCurve[] {
  let style = -1;
  const named = runs.flatMap(({ id, name }) => {
    const groups = all.find((curves) => curves.id === id)?.groups ?? [];
    return groups.flatMap((group): NamedCurve[] => {
      if (Object.keys(group.curves).length > 0) style++;
      const curve = quantity === undefined || quantity === group.quantity ? of(group.curves) : undefined;
      if (curve === undefined || curve.x.length === 0) return [];
      return [
        { name: group.name === '' ? name : `${name} ${group.name}`, curve: along(curve, group.curves, axis), style },
      ];
    });
  });
  return named.slice(-mostLines);
}

/** The curve over `axis`; over steps if its values are unknown. */
function along(curve: Curve, { tokens, seconds }: Readonly<Record<string, Curve>>, axis: Axis): Curve {
  if (axis === 'tokens' && tokens !== undefined) return { x: curve.x.map((x) => interpolated(tokens, x)), y: curve.y };
  if (axis === 'minutes' && seconds !== undefined) {
    let sum = 0;
    const times = seconds.y.map(
      (time, at) => (sum += time * (seconds.x[at] - (at === 0 ? 0 : seconds.x[at - 1]))) / 60,
    );
    const elapsed = { x: seconds.x, y: times };
    return { x: curve.x.map((x) => interpolated(elapsed, x)), y: curve.y };
  }
  return curve;
}

/** y at x, interpolated linearly. */
function interpolated({ x: xs, y: ys }: Curve, x: number): number {
  const next = xs.findIndex((known) => known >= x);
  if (next === -1) return ys[ys.length - 1];
  if (next === 0) return xs[0] === 0 ? ys[0] : (ys[0] * x) / xs[0];
  const share = (x - xs[next - 1]) / (xs[next] - xs[next - 1]);
  return ys[next - 1] + share * (ys[next] - ys[next - 1]);
}

/** An exponential mean without start-up bias; `weight` of earlier values, 0 leaves the curve unchanged. */
export function smoothed({ x, y }: Curve, weight: number): Curve {
  if (weight === 0) return { x, y };
  let mean = 0;
  let sum = 0;
  return {
    x,
    y: y.map((value) => {
      mean = weight * mean + (1 - weight) * value;
      sum = weight * sum + (1 - weight);
      return mean / sum;
    }),
  };
}

/** All curves over the union of their x values. */
export function aligned(curves: readonly Curve[]): { x: number[]; values: (number | null)[][] } {
  const x = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const values = curves.map((curve) => {
    const known = new Map(curve.x.map((at, index) => [at, curve.y[index]]));
    return x.map((at) => known.get(at) ?? null);
  });
  return { x, values };
}
