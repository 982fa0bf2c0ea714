/** *Train*: trains the open model on a text in this tab; shows the falling loss and a text before and after. */
import { useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { ChoiceField, NumberField, TextField } from '../components/fields.tsx';
import { saveFile } from '../components/files.ts';
import { LineChart } from '../components/line-chart.tsx';
import { formatCount, formatFixed, formatNumber } from '../../src/report/quantities.ts';
import { FramePacer } from './frames.ts';
import { practiceText } from './practice-text.ts';
import type { TrainSettings } from './train-protocol.ts';
import { useTask } from './use-task.ts';
import type { ViewProps } from './view-props.ts';

/** Progress of a training. */
interface Run {
  readonly tokens: number;
  readonly rows: number;
  readonly total: number;
  readonly losses: readonly number[];
  readonly seconds: number;
  readonly stage: 'loading' | 'compiling' | 'training' | 'stopped' | 'finished';
}

const emptyRun: Run = { tokens: 0, rows: 0, total: 0, losses: [], seconds: 0, stage: 'loading' };

const sides = ['before', 'after'] as const;
type Side = (typeof sides)[number];
const titles: Readonly<Record<Side, string>> = { before: 'Before', after: 'After' };

const rates = { '0.0001': '0.0001', '0.0003': '0.0003', '0.001': '0.001', '0.003': '0.003' } as const;
type Rate = keyof typeof rates;

/** Values for emptied fields. */
const usual = { steps: 40, batch: 4, length: 64, maxTokens: 60 } as const;
type Counts = Readonly<Record<keyof typeof usual, number>>;

export function TrainView({ client, ready, onBusy, onProblem }: ViewProps) {
  const [text, setText] = useState(practiceText);
  const [prompt, setPrompt] = useState('The linnet');
  const [counts, setCounts] = useState<Counts>(usual);
  const [rate, setRate] = useState<Rate>('0.001');
  const [run, setRun] = useState<Run | undefined>(undefined);
  const [written, setWritten] = useState<Readonly<Partial<Record<Side, string>>>>({});
  const [working, work] = useTask({ onBusy, onProblem });
  const trained = run !== undefined && run.losses.length > 0;

  const write = async (side: Side): Promise<void> => {
    const { maxTokens } = counts;
    const sampler = { temperature: 0 };
    const said = await client.train({ name: 'try', prompt, maxTokens, sampler, trained: side === 'after' });
    setWritten((known) => ({ ...known, [side]: said }));
  };
  const train = async (): Promise<void> => {
    let now = emptyRun;
    const draw = (): void => setRun(now);
    const pacer = new FramePacer(draw);
    setWritten({});
    await write('before');
    draw();
    const { steps, batch, length } = counts;
    const settings: TrainSettings = { steps, batch, length, learningRate: Number(rate), seed: 0 };
    try {
      const { updates, finished } = await client.train({ name: 'train', text, settings }, (progress) => {
        if (progress.type === 'planned') {
          now = { ...now, tokens: progress.tokens, rows: progress.rows, total: steps, stage: 'compiling' };
        } else if (progress.type === 'updated') {
          const { loss, seconds } = progress;
          now = { ...now, losses: [...now.losses, loss], seconds: now.seconds + seconds, stage: 'training' };
        }
        pacer.ask();
      });
      now = { ...now, stage: finished ? 'finished' : 'stopped' };
      if (updates > 0) await write('after');
    } catch (error) {
      // The new training has discarded the earlier one.
      now = { ...now, losses: [], stage: 'stopped' };
      throw error;
    } finally {
      draw();
    }
  };
  const download = async (): Promise<void> => saveFile(await client.train({ name: 'weights' }), 'model.safetensors');

  const idle = ready && !working;
  const count = (name: keyof Counts, label: string, most: number, note?: string) => (
    <NumberField
      label={label}
      note={note}
      value={counts[name]}
      min={1}
      max={most}
      onValue={(value = usual[name]) => setCounts({ ...counts, [name]: value })}
    />
  );
  return (
    <div class="view">
      <form
        class="panel"
        aria-label="Training settings"
        onSubmit={(event) => {
          event.preventDefault();
          work(train);
        }}
      >
        <TextField label="Text to train on" rows={9} value={text} onValue={setText} />
        <div class="row">
          <Button name="Train" type="submit" kind="primary" icon="chart" disabled={!idle || text.trim() === ''} />
          <Button name="Stop" icon="stop" disabled={!working} onClick={() => void client.stop().catch(onProblem)} />
        </div>
        {count('steps', 'Steps', 10_000)}
        <ChoiceField label="Learning rate" value={rate} choices={rates} onValue={setRate} />
        {count('batch', 'Rows', 64, 'sequences per step')}
        {count('length', 'Length', 1024, 'tokens per row')}
        <TextField label="Prompt" value={prompt} onValue={setPrompt} />
        {count('maxTokens', 'Tokens', 1000, 'written before and after')}
        <p class="muted">
          All parameters are trained, as with linnet finetune. The text stays in this tab. The other views keep using
          the opened weights; download the trained ones to use them elsewhere.
        </p>
      </form>
      <div class="results">
        <section class="card" aria-label="Loss">
          <h2>Loss</h2>
          <p class="verdict" role="status">
            {verdict(run)}
          </p>
          <LineChart
            title="Loss of each step"
            x={(run?.losses ?? []).map((_, at) => at + 1)}
            xName="steps"
            lines={[{ name: 'nats per token', values: run?.losses ?? [] }]}
            format={(value) => formatFixed(value, 2)}
            height={220}
          />
          <div class="row">
            <Button
              name="Download the weights"
              icon="save"
              disabled={!idle || !trained}
              onClick={() => work(download)}
            />
            <Button
              name="Write again"
              icon="again"
              disabled={!idle || !trained}
              onClick={() =>
                work(async () => {
                  for (const side of sides) await write(side);
                })
              }
            />
          </div>
        </section>
        <div class="sides">
          {sides.map((side) => (
            <section key={side} class="card" aria-label={titles[side]} data-side={side}>
              <h2>{titles[side]}</h2>
              <p class="text">
                {written[side] === undefined ? (
                  <span class="muted">nothing yet</span>
                ) : (
                  <>
                    <span class="muted">{prompt}</span>
                    <span data-written>{written[side]}</span>
                  </>
                )}
              </p>
            </section>
          ))}
        </div>
      </div>
    </div>
  );
}

const stages: Readonly<Record<Run['stage'], string>> = {
  loading: 'Fetching the parameters …',
  compiling: 'Compiling the training step …',
  training: 'Training',
  stopped: 'Stopped',
  finished: 'Trained',
};

function verdict(run: Run | undefined): string {
  if (run === undefined) return 'Train the model on a text and compare its writing before and after.';
  const { losses, rows, tokens, total, seconds, stage } = run;
  if (losses.length === 0) return stages[stage];
  return (
    `${stages[stage]}: step ${formatCount(losses.length)} of ${formatCount(total)} on ${formatCount(tokens)} tokens in ` +
    `${formatCount(rows)} rows, ${formatNumber(seconds / losses.length, 2)} s a step; ` +
    `loss ${formatFixed(losses[0], 2)} at first, ${formatFixed(losses[losses.length - 1], 2)} now. The other views keep the opened model.`
  );
}
