/** Timing on noisy machines: cases take turns, so that drifting speed affects all alike; medians count. */
import { sort } from 'd3-array';
import { requireRunning, type Watched } from '../../errors.ts';

export interface Timing {
  /** Median, in milliseconds. */
  readonly medianMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly runs: number;
}

/** Prepares a run, unmeasured, and returns it. */
type TimedCase = () => (() => Promise<unknown>) | Promise<() => Promise<unknown>>;

interface TurnOptions extends Watched {
  /** Turns per case. */
  readonly rounds: number;
  /** Timed runs per turn; default 1. */
  readonly runs?: number;
  /** Untimed runs at the start of every turn: the case before has filled caches and buffers. Default 0. */
  readonly untimed?: number;
}

/**
 * Milliseconds per run of cases that take turns. Every second round goes backwards, since a run leaves the memory in another
 * state.
 * @throws LinnetError `ABORTED` when the signal fires between two turns
 */
export async function timeInTurns(
  cases: readonly TimedCase[],
  { rounds, runs = 1, untimed = 0, signal, onProgress }: TurnOptions,
): Promise<number[][]> {
  const samples = cases.map((): number[] => []);
  for (let turn = 0; turn < rounds * cases.length; turn++) {
    requireRunning(signal, 'between two measurements of time');
    const [round, place] = [Math.floor(turn / cases.length), turn % cases.length];
    const index = round % 2 === 0 ? place : cases.length - 1 - place;
    for (let i = 0; i < untimed + runs; i++) {
      const run = await cases[index]();
      const started = performance.now();
      await run();
      if (i >= untimed) samples[index].push(performance.now() - started);
    }
    onProgress?.(turn + 1, rounds * cases.length);
  }
  return samples;
}

/** Times `run`, called `warmup` + `runs` times. */
export async function time(run: () => Promise<unknown>, { runs = 7, warmup = 2 } = {}): Promise<Timing> {
  const [samples] = await timeInTurns([() => run], { rounds: 1, runs, untimed: warmup });
  return timingOf(samples);
}

/** The middle of the sorted samples. */
export function median(samples: readonly number[]): number {
  return timingOf(samples).medianMs;
}

export function timingOf(samples: readonly number[]): Timing {
  const sorted = sort(samples);
  return {
    medianMs: sorted[Math.floor(sorted.length / 2)],
    minMs: sorted[0],
    maxMs: sorted[sorted.length - 1],
    runs: sorted.length,
  };
}
