/** A run in full: how it was made, a conversion's stages, a study's results. */
import type { ListedRun, RunCurves } from '../../src/runs/watched-runs.ts';
import { dateWords, numberWords, perplexityWords, stepsWords, timeWords } from './words.ts';

type Group = RunCurves['groups'][number];

export function RunDetails({ run }: { readonly run: ListedRun }) {
  const facts: readonly (readonly [string, string | null])[] = [
    ['command', run.command === '' ? null : run.command],
    ['data', run.data],
    ['mixer', run.mixer],
    ['started', `${dateWords(run.started)}, ${timeWords(run.seconds)}`],
    [run.unit, stepsWords(run)],
    ['seed', run.seed === null ? null : String(run.seed)],
    ['machine', run.machine],
    ['versions', `${run.versions}${run.commit === null ? '' : `, commit ${run.commit.slice(0, 10)}`}`],
    ['error', run.error],
  ];
  return (
    <details class="run">
      <summary>{run.name}</summary>
      <dl>
        {facts.map(([name, value]) =>
          value === null ? null : (
            <div key={name}>
              <dt>{name}</dt>
              <dd class={name === 'command' ? 'mono' : undefined}>{value}</dd>
            </div>
          ),
        )}
      </dl>
    </details>
  );
}

/** Stages or trials with their measurements; nothing for a run without any. */
export function Stages({ run, curves }: { readonly run: ListedRun; readonly curves: RunCurves }) {
  const groups = curves.groups.filter(({ name }) => name !== '');
  if (groups.length === 0) return null;
  const original = perplexityOf(groups.find(({ name }) => name === 'original'));
  const measured = groups.map((group) => perplexityOf(group)).filter((value) => value !== null);
  const [low, high] = [Math.min(...measured), Math.max(...measured)];
  return (
    <section class="card" aria-label={`${run.name}: ${run.unit === 'trials' ? 'trials' : 'stages'}`}>
      <h2>
        {run.name}: {run.unit === 'trials' ? 'trials' : 'stages'}
      </h2>
      <div class="table" role="region" aria-label={`Results of ${run.name}`} tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">{run.unit === 'trials' ? 'Trial' : 'Stage'}</th>
              <th scope="col" class="number">
                Perplexity
              </th>
              <th scope="col">
                from {perplexityWords(Number.isFinite(low) ? low : null)} to{' '}
                {perplexityWords(Number.isFinite(high) ? high : null)}
              </th>
              {original !== null && (
                <th scope="col" class="number">
                  against the original
                </th>
              )}
              <th scope="col" class="number">
                Steps
              </th>
              <th scope="col">Kept</th>
            </tr>
          </thead>
          <tbody>
            {groups.map((group) => (
              <StageRow key={group.name} group={group} low={low} high={high} original={original} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

interface StageRowProps {
  readonly group: Group;
  readonly low: number;
  readonly high: number;
  readonly original: number | null;
}

function StageRow({ group, low, high, original }: StageRowProps) {
  const { name, last } = group;
  const value = perplexityOf(group);
  const share = value === null || high === low ? 0.5 : (value - low) / (high - low);
  const steps = typeof last.update === 'number' ? last.update : null;
  return (
    <tr>
      <th scope="row">{name}</th>
      <td class="number">
        {value === null
          ? typeof last.loss === 'number'
            ? `loss ${numberWords(last.loss)}`
            : '…'
          : perplexityWords(value)}
      </td>
      <td>
        {value !== null && (
          <svg class="dot" viewBox="0 0 120 12" width="120" height="12" aria-hidden="true">
            <path d="M6 6H114" />
            <circle cx={6 + 108 * share} cy="6" r="5" />
          </svg>
        )}
      </td>
      {original !== null && (
        <td class="number">
          {value === null || group.name === 'original'
            ? ''
            : `${value >= original ? '+' : '−'}${(100 * Math.abs(value / original - 1)).toFixed(2)} %`}
        </td>
      )}
      <td class="number">{numberWords(steps)}</td>
      <td>{last.kept === false ? 'undone' : last.kept === true ? 'kept' : ''}</td>
    </tr>
  );
}

function perplexityOf(group: Group | undefined): number | null {
  const value = group?.last.perplexity;
  return typeof value === 'number' ? value : null;
}
