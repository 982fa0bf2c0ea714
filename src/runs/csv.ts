/** Runs as a table of comma-separated values (RFC 4180). */
import { type CsvCell, csvText } from '../report/csv.ts';
import type { RunSummary } from './summary.ts';

/** Columns by their heading. */
const columns: Readonly<Record<string, (run: RunSummary) => CsvCell>> = {
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
  return csvText([Object.keys(columns), ...runs.map((run) => Object.values(columns).map((of) => of(run)))]);
}
