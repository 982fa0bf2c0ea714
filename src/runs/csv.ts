/** Runs as a table of comma-separated values (RFC 4180). */
import { csvText } from '../report/csv.ts';
import type { RunSummary } from './summary.ts';

/** Headings and the fields under them. */
const columns: Readonly<Record<string, keyof RunSummary>> = {
  name: 'name',
  command: 'kind',
  state: 'state',
  model: 'model',
  mixer: 'mixer',
  steps: 'steps',
  total_steps: 'totalSteps',
  loss: 'loss',
  held_out_loss: 'heldOutLoss',
  perplexity: 'perplexity',
  tokens: 'tokens',
  tokens_per_second: 'tokensPerSecond',
  seconds: 'seconds',
  seed: 'seed',
  started: 'started',
  machine: 'machine',
  versions: 'versions',
  commit: 'commit',
  data: 'data',
  words: 'command',
};

/** A heading and a line for each run. */
export function runsCsv(runs: readonly RunSummary[]): string {
  return csvText([Object.keys(columns), ...runs.map((run) => Object.values(columns).map((field) => run[field]))]);
}
