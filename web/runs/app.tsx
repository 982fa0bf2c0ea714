/** The page: a folder's runs, and live curves of the chosen ones. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { CheckField, ChoiceField, Slider } from '../components/fields.tsx';
import { LineChart } from '../components/line-chart.tsx';
import { SchemeButton } from '../components/scheme.tsx';
import { formatShortCount } from '../../src/report/quantities.ts';
import { type Axis, aligned, axes, chartKindsOf, curvesOf, mostLines, smoothed } from './curves.ts';
import { RunDetails, Stages } from './run-details.tsx';
import { RunTable } from './run-table.tsx';
import type { ListedRun, RunCurves, RunList } from '../../src/runs/watched-runs.ts';
import { askRuns, CurveClient } from './server.ts';
import { numberWords } from './words.ts';

/** Milliseconds between requests, while something runs and while nothing does. */
const pace = { running: 2_000, idle: 10_000 } as const;

export function RunsApp() {
  const client = useMemo(() => new CurveClient(), []);
  const [list, setList] = useState<RunList | undefined>(undefined);
  const [curves, setCurves] = useState<readonly RunCurves[]>([]);
  const [choice, setChoice] = useState<ReadonlySet<string> | undefined>(undefined);
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const chosen = useMemo(() => choice ?? firstChoice(list?.runs ?? []), [choice, list]);
  const key = [...chosen].join();

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let current = true;
    const look = async (): Promise<void> => {
      let next: number = pace.idle;
      try {
        const found = await askRuns();
        const ids = key === '' ? [...firstChoice(found.runs)] : key.split(',');
        const read = await client.ask(ids);
        if (!current) return;
        setList(found);
        setCurves((before) =>
          before.length === read.length && before.every((own, at) => own === read[at]) ? before : read,
        );
        setProblem(undefined);
        if (found.runs.some(({ state }) => state === 'running')) next = pace.running;
      } catch (error) {
        if (!current) return;
        setProblem(`The server does not answer: ${error instanceof Error ? error.message : String(error)}`);
      }
      // A hidden page requests nothing until it is visible again.
      if (current && document.visibilityState === 'visible') timer = setTimeout(() => void look(), next);
    };
    const seen = (): void => {
      clearTimeout(timer);
      if (document.visibilityState === 'visible') void look();
    };
    document.addEventListener('visibilitychange', seen);
    void look();
    return () => {
      current = false;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [client, key]);

  const runs = list?.runs ?? [];
  const shown = runs.filter(({ id }) => chosen.has(id));
  return (
    <>
      <header class="top">
        <h1>Runs</h1>
        {list !== undefined && <span class="folder">{list.folder}</span>}
        <SchemeButton />
      </header>
      {problem !== undefined && (
        <div class="notice" role="alert">
          {problem}
        </div>
      )}
      <main>
        {list !== undefined && runs.length === 0 && (
          <p class="empty">There are no runs in this folder yet. `linnet finetune … --out runs/tuned` makes one.</p>
        )}
        {runs.length > 0 && (
          <RunTable
            runs={runs}
            chosen={chosen}
            most={mostLines}
            onChoose={(id, isChosen) => {
              const next = new Set(chosen);
              if (isChosen) next.add(id);
              else next.delete(id);
              setChoice(next);
            }}
          />
        )}
        {list !== undefined && !list.isComplete && <p class="muted">Not all runs in the folder are shown.</p>}
        {list !== undefined && list.unreadable.length > 0 && <Unreadable list={list} />}
        {shown.length > 0 && <Charts runs={shown} curves={curves} />}
        {shown.map((run) => {
          const own = curves.find(({ id }) => id === run.id);
          return own === undefined ? null : <Stages key={run.id} run={run} curves={own} />;
        })}
        {shown.length > 0 && (
          <section class="card" aria-label="How the runs were made">
            <h2>How they were made</h2>
            {shown.map((run) => (
              <RunDetails key={run.id} run={run} />
            ))}
          </section>
        )}
      </main>
    </>
  );
}

/** The running ones, else the newest. */
function firstChoice(runs: readonly ListedRun[]): ReadonlySet<string> {
  const running = runs.filter(({ state }) => state === 'running').slice(0, mostLines);
  return new Set((running.length > 0 ? running : runs.slice(0, 1)).map(({ id }) => id));
}

function Unreadable({ list }: { readonly list: RunList }) {
  return (
    <details class="run">
      <summary>
        {list.unreadable.length === 1 ? '1 folder' : `${list.unreadable.length} folders`} cannot be read
      </summary>
      <ul>
        {list.unreadable.map(({ name, reason }) => (
          <li key={name}>
            {name}: {reason}
          </li>
        ))}
      </ul>
    </details>
  );
}

function Charts({ runs, curves }: { readonly runs: readonly ListedRun[]; readonly curves: readonly RunCurves[] }) {
  const [axis, setAxis] = useState<Axis>('steps');
  const [weight, setWeight] = useState(0.8);
  const [isLog, setIsLog] = useState(false);
  return (
    <section class="card" aria-label="Curves">
      <div class="settings">
        <ChoiceField label="Along" value={axis} choices={axes} onValue={setAxis} />
        <Slider
          label="Smoothing"
          value={weight}
          min={0}
          max={0.99}
          step={0.01}
          format={(value) => value.toFixed(2)}
          onValue={setWeight}
        />
        <CheckField label="Logarithmic" checked={isLog} onValue={setIsLog} />
      </div>
      <div class="charts">
        {chartKindsOf(curves.filter(({ id }) => runs.some((run) => run.id === id))).map((kind) => {
          const named = curvesOf(kind, runs, curves, axis);
          if (named.length === 0) return null;
          const { x, values } = aligned(named.map(({ curve }) => (kind.isNoisy ? smoothed(curve, weight) : curve)));
          return (
            <section key={kind.title} class="chart" aria-label={kind.title}>
              <h2>{kind.title}</h2>
              <LineChart
                title={kind.title}
                x={x}
                xName={axes[axis]}
                lines={named.map(({ name, style }, at) => ({ name, style, values: values[at] }))}
                format={numberWords}
                formatX={formatShortCount}
                range={isLog && kind.mayBeLog === true ? 'log' : kind.fromZero === true ? 'zero' : 'data'}
                joinsGaps
                follows
                height={220}
              />
            </section>
          );
        })}
      </div>
    </section>
  );
}
