/** Measurements of two versions that take turns, and the verdict on their ratios. */
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

/** Takes the turns of some cases: each turn passes through all of them. */
export async function takeTurns(cases: readonly Case[], turns: number, seconds: number): Promise<CaseResult[]> {
  const samples = cases.map(() => Array.from({ length: turns }, (): Samples => [[], []]));
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, { measure, least = 3 }] of cases.entries()) {
      const own = samples[index][turn];
      // Another case has just filled caches and buffers.
      for (const one of measure) await one();
      const ends = performance.now() + 2000 * seconds;
      for (let i = 0; i < least || performance.now() < ends; i++) {
        for (const which of i % 2 === 0 ? bothVersions : [...bothVersions].reverse())
          own[which].push(await measure[which]());
      }
    }
  }
  for (const { end } of cases) await end?.();
  return cases.map((one, index) => resultOf(one, samples[index]));
}
