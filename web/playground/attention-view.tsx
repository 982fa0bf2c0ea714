/** *Attention*: the positions that each branch reads, and their weights, by layer and head, next to softmax. */
import { useMemo, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { ChoiceField, Slider, TextField } from '../components/fields.tsx';
import { HeatMap, type HeatLayer } from '../components/heat-map.tsx';
import { Swatches } from '../components/swatches.tsx';
import { type BarPart, TokenStrip } from '../components/token-strip.tsx';
import { branchesOf, rowsAt, shownBranches, sizes, total } from '../components/weights.ts';
import { visibleToken } from '../components/tokens.ts';
import { formatCount, formatPercent } from '../../src/report/quantities.ts';
import { GroupTable } from './group-table.tsx';
import { useTask } from './use-task.ts';
import { missingParameters, type ViewProps } from './view-props.ts';
import type { Looked, ShownLayer, ViewMixer } from './views-protocol.ts';

const presets = {
  window: 'window, with a memory and sinks',
  augmented: 'augmented: local + α·global + convolution',
  'local+global': 'local + α·global',
  own: "the open model's own",
} as const;
type Preset = keyof typeof presets;

const parameterChoices = {
  start: 'as after linearization',
  drawn: 'random: every branch counts',
} as const;

/** The layer and head on show. */
interface Place {
  readonly layer: number;
  readonly head: number;
}

export function AttentionView({ client, facts, ready, onBusy, onProblem }: ViewProps) {
  const missing = missingParameters(facts);
  const [text, setText] = useState('The state of the union is strong, because the people of this union are strong.');
  const [preset, setPreset] = useState<Preset>('window');
  const [group, setGroup] = useState(4);
  const [parameters, setParameters] = useState<ViewMixer['parameters']>('start');
  const [looked, setLooked] = useState<Looked | undefined>(undefined);
  const [looking, run] = useTask({ onBusy, onProblem });
  const [token, setToken] = useState(0);
  const [place, setPlace] = useState<Place>({ layer: 0, head: 0 });

  const look = async (): Promise<void> => {
    const found = await client.look(text, { preset, group, kernel: 9, masked: true, parameters });
    setLooked(found);
    setToken(found.tokens.length - 1);
  };
  return (
    <div class="view">
      <form
        class="panel"
        aria-label="Text and mixer"
        onSubmit={(event) => {
          event.preventDefault();
          run(look);
        }}
      >
        <TextField label="Text to look at" note="At most 64 tokens are read" rows={4} value={text} onValue={setText} />
        <ChoiceField label="Mixer" value={preset} choices={presets} onValue={setPreset} />
        <Slider label="Positions per group, G" value={group} min={2} max={16} step={1} onValue={setGroup} />
        <ChoiceField
          label="Parameters of the mixer"
          note="Right after linearization α and the filter are 0, so the global branch and the convolution have no weight"
          value={parameters}
          choices={parameterChoices}
          onValue={setParameters}
        />
        <div class="row">
          <Button name="Look" type="submit" kind="primary" disabled={!ready || looking || missing !== undefined} />
        </div>
        {missing !== undefined && <p>{missing}</p>}
        <p class="muted">
          Applies this mixer, and softmax attention, to the open model's weights, which must be float32. Both graphs are
          built in this tab.
        </p>
      </form>
      <div class="results">
        {looked === undefined ? (
          <p class="verdict" role="status">
            {looking ? 'building the graph of the whole text …' : 'Look at a text to draw its maps here.'}
          </p>
        ) : (
          <Maps looked={looked} token={token} onToken={setToken} place={place} onPlace={setPlace} />
        )}
      </div>
    </div>
  );
}

interface MapsProps {
  readonly looked: Looked;
  readonly token: number;
  readonly onToken: (token: number) => void;
  readonly place: Place;
  readonly onPlace: (place: Place) => void;
}

function Maps({ looked, token, onToken, place: { layer, head }, onPlace }: MapsProps) {
  const { tokens, linear, softmax } = looked;
  const length = tokens.length;
  const shown = linear[layer];
  const rows = rowsAt(shown.branches, head, token, length);
  const before = rowsAt(softmax[layer].branches, head, token, length);
  const bars = useMemo(
    () => [barsOf(rows, length, undefined), barsOf(before, length, 'muted')],
    [looked, layer, head, token],
  );
  const share = (at: number): string => formatPercent(total(sizes(rows, at, at + 1)) / (total(sizes(rows)) || 1));
  const title = `layer ${layer + 1}, head ${head + 1}`;
  return (
    <>
      <section class="card" aria-label="Text">
        <h2>What “{visibleToken(tokens[token])}” reads</h2>
        <p class="verdict" role="status">
          {sentence(rows, title, token)}
        </p>
        <TokenStrip
          label="Tokens of the text"
          tokens={tokens}
          chosen={token}
          onChosen={onToken}
          bars={bars}
          describe={(at) => `${share(at)} of its reads`}
        />
        <Swatches
          of={[
            ...branchesOf(shown.branches).map((branch) => shownBranches[branch]),
            { title: 'softmax', series: 'muted' },
          ]}
        />
      </section>
      <section class="card" aria-label="One head">
        <h2>{title[0].toUpperCase() + title.slice(1)}</h2>
        <div class="map-pair">
          <figure>
            <figcaption>{shown.mixer}</figcaption>
            <BigMap
              layer={shown}
              head={head}
              length={length}
              title={`Weights of ${title}`}
              row={token}
              onRow={onToken}
            />
          </figure>
          <figure>
            <figcaption>softmax attention, same weights</figcaption>
            <BigMap
              layer={softmax[layer]}
              head={head}
              length={length}
              title={`Weights of softmax attention in ${title}`}
              row={token}
              onRow={onToken}
            />
          </figure>
        </div>
        <p class="muted">
          A row shows what one position reads, from the first token on the left to itself. A cell with a hole is a
          negative weight. Colors show the square roots of weights relative to the map's largest.
        </p>
      </section>
      <section class="card" aria-label="All heads">
        <h2>Layer by layer, head by head</h2>
        <div class="sides">
          <HeadGrid name="Linear" layers={linear} length={length} place={{ layer, head }} onPlace={onPlace} />
          <HeadGrid name="Softmax" layers={softmax} length={length} place={{ layer, head }} onPlace={onPlace} />
        </div>
      </section>
      <section class="card" aria-label="State">
        <h2>State by group</h2>
        <GroupTable layer={shown} softmaxBytes={softmax[layer].stateBytes} rows={rows} token={token} tokens={tokens} />
      </section>
    </>
  );
}

/** One sentence for everybody, also for readers who see no bars. */
function sentence(rows: ReturnType<typeof rowsAt>, title: string, token: number): string {
  const bySize = sizes(rows);
  const all = total(bySize);
  if (all === 0) return `Position ${token} reads nothing in ${title}.`;
  const parts = branchesOf(rows).map(
    (branch) => `${shownBranches[branch].title} ${formatPercent((bySize[branch] ?? 0) / all)}`,
  );
  return `Position ${formatCount(token)} in ${title}: ${parts.join(', ')} of its reads.`;
}

/** A bar per token: its attention, relative to the largest. */
function barsOf(rows: ReturnType<typeof rowsAt>, length: number, muted: 'muted' | undefined): BarPart[][] {
  const each = Array.from({ length }, (_, at) => sizes(rows, at, at + 1));
  const most = Math.max(...each.map(total)) || 1;
  return each.map((bySize) =>
    branchesOf(rows).map((branch) => ({
      share: (bySize[branch] ?? 0) / most,
      series: muted ?? shownBranches[branch].series,
    })),
  );
}

interface BigMapProps {
  readonly layer: ShownLayer;
  readonly head: number;
  readonly length: number;
  readonly title: string;
  readonly row: number;
  readonly onRow: (row: number) => void;
}

function BigMap({ layer, head, length, title, row, onRow }: BigMapProps) {
  const layers = useMemo(() => heatLayers(layer, head, length), [layer, head, length]);
  return <HeatMap title={title} length={length} layers={layers} cell={length > 40 ? 8 : 12} row={row} onRow={onRow} />;
}

function heatLayers({ branches }: ShownLayer, head: number, length: number): HeatLayer[] {
  const size = length * length;
  return branchesOf(branches).map((branch) => ({
    weights: (branches[branch] ?? new Float32Array(0)).subarray(head * size, (head + 1) * size),
    series: shownBranches[branch].series,
  }));
}

interface HeadGridProps extends Pick<MapsProps, 'place' | 'onPlace'> {
  readonly name: string;
  readonly layers: readonly ShownLayer[];
  readonly length: number;
}

function HeadGrid({ name, layers, length, place, onPlace }: HeadGridProps) {
  const maps = useMemo(
    () => layers.map((layer) => Array.from({ length: layer.heads }, (_, head) => heatLayers(layer, head, length))),
    [layers, length],
  );
  return (
    <div class="map-grid" role="group" aria-label={`Heads, ${name.toLowerCase()}`}>
      <h3>{name}</h3>
      {maps.map((heads, layer) => (
        <div key={layer} class="map-row">
          <span class="muted">layer {layer + 1}</span>
          {heads.map((heat, head) => (
            <button
              key={head}
              type="button"
              class="map-choice"
              aria-label={`${name}, layer ${layer + 1}, head ${head + 1}`}
              aria-pressed={place.layer === layer && place.head === head}
              onClick={() => onPlace({ layer, head })}
            >
              <HeatMap title="" length={length} layers={heat} cell={length > 32 ? 1 : 2} />
            </button>
          ))}
        </div>
      ))}
    </div>
  );
}
