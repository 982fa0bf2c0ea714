/** *Memory*: the bytes of a growing text, here and with softmax attention; texts can be forked, saved and opened. */
import { useEffect, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { NumberField, Slider, TextField } from '../components/fields.tsx';
import { chooseFile } from '../components/files.ts';
import { LineChart } from '../components/line-chart.tsx';
import { formatBytes, formatCount, formatFixed, formatNumber } from '../../src/report/quantities.ts';
import type { PrivateFile } from '../../src/open/private-folder.ts';
import { deleteSession, keepSession, savedSessions } from '../../src/open/session-folder.ts';
import { FramePacer } from './frames.ts';
import { KeptTexts } from './kept-texts.tsx';
import type { TextFacts } from './protocol.ts';
import { useTask } from './use-task.ts';
import type { ViewProps } from './view-props.ts';

/** A text and its history. */
interface ShownText extends TextFacts {
  readonly id: number;
  /** Number among this view's texts, from 1. */
  readonly number: number;
  readonly origin: string;
  /** Measured lengths, ascending, and the state's bytes at each. */
  readonly lengths: readonly number[];
  readonly bytes: readonly number[];
}

const mostTexts = 8;
/** Points of the chart; when full, every other point is dropped. */
const mostPoints = 400;

export function MemoryView({ client, facts, ready, onBusy, onProblem }: ViewProps) {
  const [texts, setTexts] = useState<readonly ShownText[]>([]);
  const [chosen, setChosen] = useState<number | undefined>(undefined);
  const [added, setAdded] = useState('Once more we meet to speak of the state of the union.');
  const [count, setCount] = useState(200);
  const [temperature, setTemperature] = useState(0.8);
  const [kept, setKept] = useState<readonly PrivateFile[]>([]);
  const [writing, run] = useTask({ onBusy, onProblem });
  const current = texts.find(({ id }) => id === chosen);
  const next = 1 + Math.max(0, ...texts.map(({ number }) => number));
  const cacheOf = (length: number): number => length * (facts?.cacheBytesPerToken ?? 0);

  const look = (): void => {
    savedSessions().then(setKept, () => setKept([])); // the browser has no storage
  };
  useEffect(look, []);

  const put = (text: ShownText): void => {
    setTexts((known) =>
      known.some(({ id }) => id === text.id)
        ? known.map((other) => (other.id === text.id ? text : other))
        : [...known, text],
    );
    setChosen(text.id);
  };
  const write = async (): Promise<void> => {
    const id = current?.id ?? client.newText();
    let now: ShownText = current ?? {
      ...{ id, number: next, origin: 'new', text: '' },
      ...{ length: 0, stateBytes: 0, lengths: [], bytes: [] },
    };
    now = { ...now, text: now.text + added };
    const pacer = new FramePacer(() => put(now));
    const options = { maxTokens: count, sampler: { temperature, topP: 0.95, seed: id }, speculate: 'off' } as const;
    const written = await client.write(id, added, options, (progress) => {
      if (progress.type !== 'written') return;
      const { text, length, stateBytes } = progress;
      now = grown({ ...now, text: now.text + text, length, stateBytes });
      pacer.ask();
    });
    now = grown({ ...now, text: written.text, length: written.length, stateBytes: written.stateBytes });
    put(now);
    setAdded('');
  };
  const fork = async (from: ShownText): Promise<void> => {
    const id = client.newText();
    const forked = await client.fork(id, from.id);
    put({ ...from, ...forked, id, number: next, origin: `fork of text ${from.number}` });
  };
  const open = async (): Promise<void> => {
    const file = await chooseFile();
    if (file === undefined) return;
    const name = await freeName(file.name.replace(/\.session$/, ''));
    await keepSession(name, new Uint8Array(await file.arrayBuffer()));
    await restore(name).catch(async (error: unknown) => {
      await deleteSession(name);
      throw error;
    });
    look();
  };
  const restore = async (name: string): Promise<void> => {
    const id = client.newText();
    const restored = await client.restore(id, name);
    put(grown({ ...restored, id, number: next, origin: name, lengths: [], bytes: [] }));
  };
  const save = async ({ id, number, length }: ShownText): Promise<void> => {
    await client.save(id, await freeName(`${facts?.name ?? 'text'} ${number}, ${length} tokens`));
    look();
  };
  const close = async ({ id }: ShownText): Promise<void> => {
    await client.forget(id);
    setTexts((known) => known.filter((text) => text.id !== id));
    if (chosen === id) setChosen(texts.find((text) => text.id !== id)?.id);
  };

  const idle = ready && !writing;
  const lengths = current?.lengths ?? [];
  return (
    <div class="view">
      <form
        class="panel"
        aria-label="Text and settings"
        onSubmit={(event) => {
          event.preventDefault();
          run(write);
        }}
      >
        <TextField label={current === undefined ? 'Text' : 'Text to add'} rows={4} value={added} onValue={setAdded} />
        <NumberField label="Tokens" value={count} min={1} max={65536} onValue={(value = 200) => setCount(value)} />
        <Slider
          label="Temperature"
          note="0 always takes the likeliest token"
          value={temperature}
          min={0}
          max={2}
          step={0.05}
          format={(value) => formatFixed(value, 2)}
          onValue={setTemperature}
        />
        <div class="row">
          <Button
            name={current === undefined ? 'Write' : 'Go on'}
            type="submit"
            kind="primary"
            icon="send"
            disabled={!idle}
          />
          <Button name="Stop" icon="stop" disabled={!writing} onClick={() => void client.stop().catch(onProblem)} />
        </div>
        <div class="row">
          <Button
            name="New text"
            icon="plus"
            disabled={!idle || current === undefined || texts.length >= mostTexts}
            onClick={() => setChosen(undefined)}
          />
          <Button name="Open" icon="open" disabled={!idle || texts.length >= mostTexts} onClick={() => run(open)} />
        </div>
        <p class="muted">
          This browser keeps a saved text with its state; it continues from there after a reload or in another tab.
        </p>
      </form>
      <div class="results">
        <section class="card" aria-label="Memory">
          <h2>Memory of the text</h2>
          <p class="verdict" role="status">
            {current === undefined
              ? 'Write a text to chart the memory it takes.'
              : comparison(current.length, current.stateBytes, cacheOf(current.length))}
          </p>
          <LineChart
            title="Bytes kept as the text grows"
            x={lengths}
            xName="tokens"
            lines={[
              { name: 'state of this model', values: current?.bytes ?? [] },
              { name: 'key-value cache of softmax attention', values: lengths.map(cacheOf), dashed: true },
            ]}
            format={formatBytes}
            isBinary
            height={220}
          />
          <p class="muted">
            The cache's size is computed: {formatBytes(cacheOf(1))} per token over all layers, in float32 like the
            state.
          </p>
        </section>
        <div class="sides">
          {texts.map((text) => (
            <section
              key={text.id}
              class={`card${text.id === chosen ? ' chosen' : ''}`}
              aria-label={`Text ${text.number}`}
            >
              <h2>
                Text {text.number} <span class="muted origin">{text.origin}</span>
              </h2>
              <p class="muted numbers">
                {formatCount(text.length)} tokens, state {formatBytes(text.stateBytes)}
              </p>
              <div class="row">
                <Button name="Show" pressed={text.id === chosen} disabled={!idle} onClick={() => setChosen(text.id)} />
                <Button
                  name="Fork"
                  icon="fork"
                  disabled={!idle || texts.length >= mostTexts}
                  onClick={() => run(() => fork(text))}
                />
                <Button name="Save" icon="save" disabled={!idle} onClick={() => run(() => save(text))} />
                <Button name="Close" icon="close" disabled={!idle} onClick={() => run(() => close(text))} />
              </div>
              <p class="text tail" tabIndex={0} role="region" aria-label={`End of text ${text.number}`}>
                {text.text}
              </p>
            </section>
          ))}
        </div>
        <KeptTexts
          kept={kept}
          room={idle && texts.length < mostTexts}
          onOpen={(name) => run(() => restore(name))}
          onChange={look}
          onProblem={onProblem}
        />
      </div>
    </div>
  );
}

/** An unused name; saving under a used one would replace that text. */
async function freeName(wanted: string): Promise<string> {
  const taken = new Set((await savedSessions()).map(({ name }) => name));
  let name = wanted;
  for (let count = 2; taken.has(name); count++) name = `${wanted} (${count})`;
  return name;
}

/** Adds a point for the text's length if it is new. */
function grown(text: ShownText): ShownText {
  const { length, stateBytes, lengths, bytes } = text;
  if (length <= (lengths.at(-1) ?? 0)) return text;
  const thin = <T,>(list: readonly T[]): readonly T[] =>
    lengths.length >= mostPoints ? list.filter((_, at) => at % 2 === 0) : list;
  return { ...text, lengths: [...thin(lengths), length], bytes: [...thin(bytes), stateBytes] };
}

function comparison(length: number, state: number, cache: number): string {
  const smaller = cache >= state ? 'smaller' : 'larger';
  const ratio = cache >= state ? cache / state : state / cache;
  return (
    `After ${formatCount(length)} tokens the state takes ${formatBytes(state)}, ${formatNumber(ratio, 2)} times ${smaller} ` +
    `than the ${formatBytes(cache)} of a key-value cache.`
  );
}
