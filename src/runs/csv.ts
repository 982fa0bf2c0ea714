/** Runs as a table of comma-separated values (RFC 4180). */
import type { RunSummary } from './summary.ts';

/** Columns by their heading. */
const columns: Readonly<Record<string, (run: RunSummary) => string | number | null>> = {
  name: ({ name }) => name,
  command: ({ kind }) => kind,
  state: ({ state }) => state,
  model: ({ model }) => model,
  mixer: ({ mixer }) => mixer,
  steps: ({ steps }) => steps,
  total_steps: ({ totalSteps }) => totalSteps,
  loss: ({ loss }) => loss,
  held_out_loss: ({ heldOutLoss }) => heldOutLoss,
  perplexity: ({ perplexity }) => perplexity,
  tokens: ({ tokens }) => tokens,
  tokens_per_second: ({ tokensPerSecond }) => tokensPerSecond,
  seconds: ({ seconds }) => seconds,
  seed: ({ seed }) => seed,
  started: ({ started }) => started,
  machine: ({ machine }) => machine,
  versions: ({ versions }) => versions,
  commit: ({ commit }) => commit,
  data: ({ data }) => data,
  words: ({ command }) => command,
};

/** A heading and a line for each run. */
export function runsCsv(runs: readonly RunSummary[]): string {
  const rows = runs.map((run) => Object.values(columns).map((of) => csvCell(of(run))));
  return [Object.keys(columns), ...rows].map((cells) => `${cells.join(',')}\n`).join('');
}

/**
 * A cell, quoted where it has to be. Text that a spreadsheet would take for a formula gets an apostrophe before it: names come
 * from whoever made the folder.
 */
function csvCell(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
