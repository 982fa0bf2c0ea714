/**
 * *Mask*: how predictions before a replaced token move, with the convolution masked and unmasked (paper,
 * section 4.2 and Figure 4, as an experiment).
 */
import { useMemo, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { CheckField, Slider, TextField } from '../components/fields.tsx';
import { HeatMap } from '../components/heat-map.tsx';
import { Swatches } from '../components/swatches.tsx';
import { type BarPart, TokenStrip } from '../components/token-strip.tsx';
import { visibleToken } from '../components/tokens.ts';
import { formatCount, formatNumber } from '../../src/report/quantities.ts';
import { useTask } from './use-task.ts';
import { missingParameters, type ViewProps } from './view-props.ts';
import type { Moved } from './views-protocol.ts';

const past = { title: 'before the replaced token', series: 1 } as const;
const rest = { title: 'the replaced token and after it', series: 0 } as const;

/** An experiment's result, and whether the mask was on. */
interface Shown extends Moved {
  readonly masked: boolean;
  readonly kernel: number;
}

export function MaskView({ client, facts, ready, onBusy, onProblem }: ViewProps) {
  const missing = missingParameters(facts);
  const [text, setText] = useState('The state of the union is strong, because the people are strong.');
  const [kernel, setKernel] = useState(5);
  const [masked, setMasked] = useState(true);
  const [shown, setShown] = useState<Shown | undefined>(undefined);
  const [running, run] = useTask({ onBusy, onProblem });
  const [token, setToken] = useState(0);

  const move = async (withMask: boolean): Promise<void> => {
    const mixer = { preset: 'augmented', group: 8, kernel, masked: withMask, parameters: 'drawn' } as const;
    const moved = await client.move(text, mixer);
    setShown({ ...moved, masked: withMask, kernel });
    setToken((before) => (before > 0 && before < moved.tokens.length ? before : Math.floor(moved.tokens.length / 2)));
  };
  return (
    <div class="view">
      <form
        class="panel"
        aria-label="Experiment"
        onSubmit={(event) => {
          event.preventDefault();
          run(() => move(masked));
        }}
      >
        <TextField label="Text to change" note="At most 64 tokens are read" rows={4} value={text} onValue={setText} />
        <Slider label="Length of the filter, K" value={kernel} min={3} max={17} step={2} onValue={setKernel} />
        <CheckField
          label="Mask the convolution"
          checked={masked}
          onValue={(value) => {
            setMasked(value);
            if (shown !== undefined && ready && !running) run(() => move(value));
          }}
        />
        <div class="row">
          <Button
            name="Replace every token"
            type="submit"
            kind="primary"
            disabled={!ready || running || missing !== undefined}
          />
        </div>
        {missing !== undefined && <p>{missing}</p>}
        <p class="muted">
          Uses the open model, in float32, with the augmented mixer. Its filters would start at zero and could hide a
          leak, so they are random, as in <code>linnet check</code>. Each token in turn is replaced by its neighbor in
          the vocabulary, and the predictions at all positions are compared.
        </p>
      </form>
      <div class="results">
        {shown === undefined ? (
          <p class="verdict" role="status">
            {running ? 'reading the text with every token replaced …' : 'Run the experiment, then turn the mask off.'}
          </p>
        ) : (
          <Outcome shown={shown} token={token} onToken={setToken} />
        )}
      </div>
    </div>
  );
}

interface OutcomeProps {
  readonly shown: Shown;
  readonly token: number;
  readonly onToken: (token: number) => void;
}

function Outcome({ shown, token, onToken }: OutcomeProps) {
  const { tokens, replacements, moved, masked, kernel } = shown;
  const length = tokens.length;
  const row = moved.subarray(token * length, (token + 1) * length);
  const most = Math.max(...row) || 1;
  const bars = useMemo(
    () => [
      Array.from(row, (size, at): BarPart[] => [
        { share: size / most, series: at < token ? past.series : rest.series },
      ]),
    ],
    [moved, token],
  );
  const layers = useMemo(() => {
    const of = (wanted: boolean): Float32Array =>
      moved.map((size, at) => (at % length < Math.floor(at / length) === wanted ? size : 0));
    return [
      { weights: of(true), series: past.series },
      { weights: of(false), series: rest.series },
    ];
  }, [moved, length]);
  return (
    <>
      <section class="card" aria-label="One replacement">
        <h2>
          “{visibleToken(tokens[token])}” replaced by “{visibleToken(replacements[token])}”
        </h2>
        <p class="verdict" role="status">
          {verdict(row, token)}
        </p>
        <TokenStrip
          label="Token to replace"
          tokens={tokens}
          chosen={token}
          onChosen={onToken}
          bars={bars}
          describe={(at) => `moves by ${formatNumber(row[at], 3)}`}
        />
        <Swatches of={[past, rest]} />
        <p class="muted">Bars show the largest movement of a logit at each position, relative to the row's largest.</p>
      </section>
      <section class="card" aria-label="All replacements">
        <h2>{masked ? 'Masked: no position reads the future' : 'Unmasked: positions read the future'}</h2>
        <p data-past={largestPast(moved, length)}>{summary(shown)}</p>
        <HeatMap
          title={`What moves, by replaced token; ${masked ? 'nothing before it' : `up to ${(kernel - 1) / 2} positions before it in every layer`}`}
          length={length}
          layers={layers}
          cell={length > 40 ? 8 : 12}
          row={token}
          onRow={onToken}
        />
        <p class="muted">Rows are replaced tokens; columns are positions whose predictions moved.</p>
      </section>
    </>
  );
}

function verdict(row: Float32Array, token: number): string {
  const before = row.subarray(0, token);
  const count = before.filter((size) => size > 0).length;
  if (token === 0) return 'Nothing comes before the first token.';
  if (count === 0)
    return `Nothing before it moves: the largest movement of ${formatCount(token)} positions is exactly 0.`;
  return (
    `${formatCount(count)} of ${formatCount(token)} positions before it move, by up to ${formatNumber(Math.max(...before), 3)}: ` +
    'the filter has shown them the next tokens.'
  );
}

function largestPast(moved: Float32Array, length: number): number {
  return moved.reduce((most, size, at) => (at % length < Math.floor(at / length) ? Math.max(most, size) : most), 0);
}

function summary({ tokens, moved, masked, kernel }: Shown): string {
  const length = tokens.length;
  const most = largestPast(moved, length);
  if (masked || most === 0) {
    return `Over all ${formatCount(length)} replacements the largest movement before the replaced token is ${formatNumber(most, 3)}.`;
  }
  return (
    `The largest movement before the replaced token is ${formatNumber(most, 3)}. In training the next token is the answer: ` +
    `a filter of ${kernel} weights hands over up to ${(kernel - 1) / 2} of them in every layer, the loss collapses, and the model is ` +
    'useless when it has to write the future itself.'
  );
}
