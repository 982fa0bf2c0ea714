/** The panel next to a column's text: branches, token trees of recent rounds, speed and state. */
import { LineChart } from '../components/line-chart.tsx';
import { TokenTreeView } from '../components/token-tree.tsx';
import { formatBytes, formatCount, formatNumber, formatPercent } from '../../src/report/quantities.ts';
import type { ColumnSnapshot } from './column-model.ts';
import { ForkMap } from './fork-map.tsx';

export interface InsightProps {
  readonly snapshot: ColumnSnapshot;
  readonly onShow: (turn: number) => void;
}

const perSecond = (value: number): string => formatNumber(value, 3);

export function Insight({ snapshot, onShow }: InsightProps) {
  const { conversation, facts } = snapshot;
  const { trees, guessed, accepted, history } = facts;
  return (
    <div class="insight">
      <section aria-label="Branches">
        <h3>Branches</h3>
        {conversation.turns.length === 0 ? (
          <p class="muted">Ask again or edit a question to make a branch.</p>
        ) : (
          <div class="drawing">
            <ForkMap conversation={conversation} onShow={onShow} />
          </div>
        )}
      </section>
      <section aria-label="Token trees">
        <h3>
          Token trees
          {guessed > 0 && (
            <span class="muted numbers">
              {` ${formatCount(accepted)} of ${formatCount(guessed)} guesses accepted, ${formatPercent(accepted / guessed, 0)}`}
            </span>
          )}
        </h3>
        {trees.length === 0 ? (
          <p class="muted">With speculation, each round shows here its guesses and which the model accepted.</p>
        ) : (
          <div class="drawing trees" tabIndex={0} role="region" aria-label="Trees of the last rounds, the newest first">
            {trees.map((tree, at) => (
              <TokenTreeView key={at} {...tree} />
            ))}
          </div>
        )}
      </section>
      <section aria-label="Speed and state">
        <h3>Speed and state</h3>
        {history.positions.length === 0 ? (
          <p class="muted">Tokens per second and state bytes appear here as the text grows.</p>
        ) : (
          <>
            <LineChart
              title="Tokens per second as the text grows"
              x={history.positions}
              xName="tokens in the state"
              lines={[{ name: 'tokens/s', values: history.rates }]}
              format={perSecond}
              height={110}
            />
            <LineChart
              title="State bytes as the text grows"
              x={history.positions}
              xName="tokens in the state"
              lines={[{ name: 'state', values: history.bytes }]}
              format={formatBytes}
              isBinary
              height={110}
            />
          </>
        )}
      </section>
    </div>
  );
}
