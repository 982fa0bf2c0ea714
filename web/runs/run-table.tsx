/** The runs as a table: chosen by a tick, sorted by any column. */
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { ListedRun } from '../../src/runs/watched-runs.ts';
import { lossWords, perplexityWords, rateWords, stepsWords, timeWords } from './words.ts';

const stateWords: Readonly<Record<ListedRun['state'], string>> = {
  running: 'running',
  finished: 'finished',
  interrupted: 'stopped',
  failed: 'failed',
  lost: 'gone',
};

interface Column {
  readonly header: string;
  readonly show: (run: ListedRun) => ComponentChildren;
  readonly key: (run: ListedRun) => string | number | null;
  readonly isNumber?: boolean;
  /** Whether words wrap on a narrow page. */
  readonly wraps?: boolean;
}

/** The most telling columns come first. */
const columns: readonly Column[] = [
  { header: 'State', show: ({ state }) => <State state={state} />, key: ({ state }) => state },
  {
    header: 'Perplexity',
    show: ({ perplexity }) => perplexityWords(perplexity),
    key: ({ perplexity }) => perplexity,
    isNumber: true,
  },
  { header: 'Loss', show: ({ loss }) => lossWords(loss), key: ({ loss }) => loss, isNumber: true },
  { header: 'Steps', show: (run) => <Steps run={run} />, key: ({ steps }) => steps, isNumber: true },
  { header: 'Time', show: ({ seconds }) => timeWords(seconds), key: ({ seconds }) => seconds, isNumber: true },
  {
    header: 'Tokens',
    show: ({ tokensPerSecond }) => rateWords(tokensPerSecond),
    key: ({ tokensPerSecond }) => tokensPerSecond,
    isNumber: true,
  },
  { header: 'Command', show: ({ kind }) => kind, key: ({ kind }) => kind },
  { header: 'Model', show: ({ model }) => model ?? '–', key: ({ model }) => model, wraps: true },
  { header: 'Mixer', show: ({ mixer }) => mixer ?? '–', key: ({ mixer }) => mixer, wraps: true },
  { header: 'Machine', show: ({ machine }) => machine, key: ({ machine }) => machine, wraps: true },
];

function State({ state }: { readonly state: ListedRun['state'] }) {
  return <span class={`state ${state}`}>{stateWords[state]}</span>;
}

function Steps({ run }: { readonly run: ListedRun }) {
  const share =
    run.state !== 'running' || run.steps === null || run.totalSteps === null ? undefined : run.steps / run.totalSteps;
  return (
    <>
      {stepsWords(run)}
      {share !== undefined && <progress max={1} value={share} aria-label={`${run.name}: steps done`} />}
    </>
  );
}

export interface RunTableProps {
  readonly runs: readonly ListedRun[];
  readonly chosen: ReadonlySet<string>;
  readonly onChoose: (id: string, isChosen: boolean) => void;
  /** Most runs that can be chosen. */
  readonly most: number;
}

export function RunTable({ runs, chosen, onChoose, most }: RunTableProps) {
  const [order, setOrder] = useState<{ readonly by: number; readonly up: boolean } | undefined>(undefined);
  const sorted =
    order === undefined
      ? runs
      : runs.toSorted((a, b) => compare(columns[order.by].key(a), columns[order.by].key(b), order.up));
  return (
    <div class="table" role="region" aria-label="Runs" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Run</th>
            {columns.map(({ header, isNumber = false }, at) => (
              <th
                key={header}
                scope="col"
                class={isNumber ? 'number' : undefined}
                aria-sort={order?.by !== at ? 'none' : order.up ? 'ascending' : 'descending'}
              >
                <button type="button" onClick={() => setOrder({ by: at, up: order?.by === at ? !order.up : true })}>
                  {header}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.map((run) => (
            <tr key={run.id} class={chosen.has(run.id) ? 'chosen' : undefined}>
              <th scope="row">
                <label class="check">
                  <input
                    type="checkbox"
                    checked={chosen.has(run.id)}
                    disabled={!chosen.has(run.id) && chosen.size >= most}
                    onChange={({ currentTarget }) => onChoose(run.id, currentTarget.checked)}
                  />
                  {run.name}
                </label>
              </th>
              {columns.map(({ header, show, isNumber = false, wraps = false }) => (
                <td key={header} class={isNumber ? 'number' : wraps ? 'wraps' : undefined}>
                  {show(run)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Unknown values come last in both directions. */
function compare(a: string | number | null, b: string | number | null, up: boolean): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
  return up ? order : -order;
}
