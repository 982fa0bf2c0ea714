/** Measurements of two versions that take turns, and the verdict on their ratios. */
import { cpus } from 'node:os';
import { median } from '../../src/evaluation/speed/timing.ts';

export const bothVersions = [0, 1] as const;

export interface CaseName {
  readonly what: string;
  readonly unit: string;
  /** Whether more is better, as of a share of the peak. Default: less is. */
  readonly moreIsBetter?: boolean;
}

/** Something that both versions can do. */
export interface Case extends CaseName {
  /** One measurement of each version. */
  readonly measure: readonly [Measure, Measure];
  /** Measurements of each version in a turn: at least this many, and as many as fit in the seconds of a turn. */
  readonly least?: number;
  /** Once, when all turns are over. */
  readonly end?: () => Promise<void>;
}

export type Measure = () => Promise<number>;

export interface CaseResult {
  readonly what: string;
  readonly unit: string;
  /** Medians of all measurements. */
  readonly before: number;
  readonly now: number;
  /** Speed of this version over that of the other, of the medians of each turn. */
  readonly ratios: readonly number[];
  readonly slower: boolean;
}

/** A version is slower where this ratio is missed in every turn: the same code against itself gives 0.98 to 1.02. */
export const tolerated = 0.97;

export function isSlower(ratios: readonly number[]): boolean {
  return ratios.length > 0 && ratios.every((ratio) => ratio < tolerated);
}

/** Samples of a turn: of the other version, and of this one. */
export type Samples = readonly [before: number[], now: number[]];

export function resultOf({ what, unit, moreIsBetter = false }: CaseName, turns: readonly Samples[]): CaseResult {
  const ratios = turns.map(([before, now]) => {
    const ratio = median(before) / median(now);
    return moreIsBetter ? 1 / ratio : ratio;
  });
  const all = (which: 0 | 1): number => median(turns.flatMap((turn) => turn[which]));
  return { what, unit, before: all(0), now: all(1), ratios, slower: isSlower(ratios) };
}

/** Milliseconds that all processes have computed, and this one. */
function computed(): { readonly all: number; readonly own: number } {
  const all = cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0);
  const { user, system } = process.cpuUsage();
  return { all, own: (user + system) / 1000 };
}

/** Samples are kept or left out together that took this long: the system counts in steps of 10 ms. */
const stretchMs = 300;
/** Most of a core that others may use beside a measurement. */
const mostBeside = 0.1;
/** A turn that others disturb is prolonged to so many times its length; then it counts as it is. */
const longest = 6;

/** Samples of a case in a turn: those of stretches in which others used the processor are left out. */
async function samplesOf({ measure, least = 3 }: Case, seconds: number): Promise<Samples> {
  const kept: Samples = [[], []];
  const disturbed: Samples = [[], []];
  const begun = performance.now();
  const last = begun + 2000 * seconds;
  for (let i = 0; kept[0].length < least || performance.now() < last; ) {
    const stretch: Samples = [[], []];
    const [before, started] = [computed(), performance.now()];
    do {
      for (const which of i++ % 2 === 0 ? bothVersions : [...bothVersions].reverse())
        stretch[which].push(await measure[which]());
    } while (performance.now() - started < Math.min(stretchMs, 2000 * seconds));
    const [after, passed] = [computed(), performance.now() - started];
    const beside = (after.all - before.all - (after.own - before.own)) / passed;
    const into = passed > stretchMs / 3 && beside > mostBeside ? disturbed : kept;
    for (const which of bothVersions) for (const sample of stretch[which]) into[which].push(sample);
    if (performance.now() - begun > longest * 2000 * Math.max(seconds, 0.1) && disturbed[0].length >= least) break;
  }
  if (kept[0].length >= least) return kept;
  return [
    [...kept[0], ...disturbed[0]],
    [...kept[1], ...disturbed[1]],
  ];
}

/** Takes the turns of some cases: each turn passes through all of them. */
export async function takeTurns(cases: readonly Case[], turns: number, seconds: number): Promise<CaseResult[]> {
  const samples = cases.map((): Samples[] => []);
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, one] of cases.entries()) {
      // Another case has just filled caches and buffers.
      for (const measure of one.measure) await measure();
      samples[index].push(await samplesOf(one, seconds));
    }
  }
  for (const { end } of cases) await end?.();
  return cases.map((one, index) => resultOf(one, samples[index]));
}
