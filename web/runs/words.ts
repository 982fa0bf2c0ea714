/** Formats numbers for the page; src/report/quantities.ts has the formats that reports share. */
import {
  formatCount,
  formatDuration,
  formatFixed,
  formatNumber,
  formatShortCount,
} from '../../src/report/quantities.ts';
import type { ListedRun } from '../../src/runs/watched-runs.ts';

const absent = '–';

const orAbsent =
  (format: (value: number) => string) =>
  (value: number | null): string =>
    value === null ? absent : format(value);

export const perplexityWords = orAbsent((value) => (value >= 1000 ? formatNumber(value) : formatFixed(value, 2)));
export const lossWords = orAbsent((value) => formatFixed(value, 4));
export const rateWords = orAbsent((value) => `${formatShortCount(Math.round(value))}/s`);
export const numberWords = orAbsent((value) => formatNumber(value));

export function stepsWords({ steps, totalSteps, unit }: ListedRun): string {
  if (steps === null) return absent;
  const done =
    totalSteps === null || totalSteps === steps
      ? formatCount(steps)
      : `${formatCount(steps)}/${formatCount(totalSteps)}`;
  return unit === 'trials' ? `${done} trials` : done;
}

export const timeWords = (seconds: number): string => formatDuration(Math.round(seconds));

/** Day and minute, in the reader's time zone. */
export function dateWords(iso: string): string {
  return new Date(iso).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}
