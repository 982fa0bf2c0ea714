/** Alternating measurements of two versions, and the verdict on their ratios. */
import { cpus } from 'node:os';
import { median } from '../../src/evaluation/speed/timing.ts';

export const bothVersions = [0, 1] as const;

export interface CaseName {
  readonly what: string;
  readonly unit: string;
  /** Whether more is better, as for a share of the peak. Default: less is better. */
  readonly moreIsBetter?: boolean;
}

/** A measurement that both versions support. */
export interface Case extends CaseName {
  /** Measures once, by version. */
  readonly measure: readonly [Measure, Measure];
  /** Minimum measurements of each version per turn; more follow while the turn's seconds last. */
  readonly least?: number;
  /** Runs once after all turns. */
  readonly end?: () => Promise<void>;
}

export type Measure = () => Promise<number>;

export interface CaseResult {
  readonly what: string;
  readonly unit: string;
  /** Medians of all measurements. */
  readonly before: number;
  readonly now: number;
  /** This version's speed over the other's, from the medians of each turn. */
  readonly ratios: readonly number[];
  readonly slower: boolean;
}

/** A version is slower if every turn's ratio is below this: the same code against itself gives 0.98 to 1.02. */
export const tolerated = 0.97;

export function isSlower(ratios: readonly number[]): boolean {
  return ratios.length > 0 && ratios.every((ratio) => ratio < tolerated);
}

/** A turn's samples: the other version's, and this one's. */
export type Samples = readonly [before: number[], now: number[]];

export function resultOf({ what, unit, moreIsBetter = false }: CaseName, turns: readonly Samples[]): CaseResult {
  const ratios = turns.map(([before, now]) => {
    const ratio = median(before) / median(now);
    return moreIsBetter ? 1 / ratio : ratio;
  });
  const all = (which: 0 | 1): number => median(turns.flatMap((turn) => turn[which]));
  return { what, unit, before: all(0), now: all(1), ratios, slower: isSlower(ratios) };
}

/** Processor milliseconds of all processes, and of this one. */
function computed(): { readonly all: number; readonly own: number } {
  const all = cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0);
  const { user, system } = process.cpuUsage();
  return { all, own: (user + system) / 1000 };
}

/** Milliseconds of samples that are kept or dropped together: the system counts in steps of 10 ms. */
const stretchMs = 300;
/** Most of a core that other processes may use during a measurement. */
const mostBeside = 0.1;
/** A disturbed turn lasts at most this many times its length; then it counts anyway. */
const longest = 6;

/** A case's samples in a turn, without stretches in which other processes used the processor. */
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

/** Runs the turns: each passes through all cases. */
export async function takeTurns(cases: readonly Case[], turns: number, seconds: number): Promise<CaseResult[]> {
  const samples = cases.map((): Samples[] => []);
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, one] of cases.entries()) {
      // The previous case has just filled caches and buffers.
      for (const measure of one.measure) await measure();
      samples[index].push(await samplesOf(one, seconds));
    }
  }
  for (const { end } of cases) await end?.();
  return cases.map((one, index) => resultOf(one, samples[index]));
}
