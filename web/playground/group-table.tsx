/** A layer's state after a token, group by group: how each is kept, and how much the token reads of it. */
import { type BranchWeights, sizes, total } from '../components/weights.ts';
import { visibleToken } from '../components/tokens.ts';
import { formatBytes, formatPercent } from '../../src/report/quantities.ts';
import type { ShownLayer } from './views-protocol.ts';

export interface GroupTableProps {
  readonly layer: ShownLayer;
  /** Bytes that softmax attention keeps in this layer after the text. */
  readonly softmaxBytes: number;
  /** The token's reads, by branch. */
  readonly rows: BranchWeights;
  readonly token: number;
  readonly tokens: readonly string[];
}

export function GroupTable({ layer, softmaxBytes, rows, token, tokens }: GroupTableProps) {
  const { group: G, window, sinks, stateBytes } = layer;
  if (G === 0) return <p class="muted">This mixer has no groups.</p>;
  const own = Math.floor(token / G);
  const all = total(sizes(rows)) || 1;
  const groups = Array.from({ length: own + 1 }, (_, index) => {
    const [first, end] = [index * G, Math.min(token + 1, (index + 1) * G)];
    return { index, first, end, share: total(sizes(rows, first, end)) / all, kept: keptAs(layer, own - index, first) };
  });
  return (
    <>
      <p class="muted">
        This layer's state takes {formatBytes(stateBytes)} at any length; for this text, softmax attention keeps{' '}
        {formatBytes(softmaxBytes)}. Groups of {G} positions{window > 1 ? `, ${window} of them row by row` : ''}
        {sinks > 0 ? `, and the first ${sinks} positions as sinks` : ''}.
      </p>
      <div class="scrolling" tabIndex={0} role="region" aria-label="Groups">
        <table class="figures">
          <thead>
            <tr>
              <th scope="col">group</th>
              <th scope="col">text</th>
              <th scope="col">kept as</th>
              <th scope="col">read</th>
              <th scope="col">
                <span class="unseen">share as a bar</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {groups.map(({ index, first, end, share, kept }) => (
              <tr key={index}>
                <th scope="row">{index}</th>
                <td class="mono">{visibleTokens(tokens.slice(first, end))}</td>
                <td>{kept}</td>
                <td class="number">{formatPercent(share)}</td>
                <td>
                  <svg width="100" height="10" aria-hidden="true">
                    <rect class="series-0" width={Math.max(0, Math.min(1, share)) * 100} height="10" />
                  </svg>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function keptAs({ window, sinks, branches }: ShownLayer, age: number, first: number): string {
  if (age < window) return age === 0 ? 'rows: the open group' : 'rows: the window';
  const folded = branches.memory === undefined ? 'forgotten' : 'folded into the memory';
  return first < sinks ? `${folded}; its first tokens stay rows` : folded;
}

function visibleTokens(tokens: readonly string[]): string {
  return tokens.map(visibleToken).join(' ');
}
