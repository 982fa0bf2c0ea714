/** The convolution's reads: across group edges and, unmasked, into the future. */
import { useMemo, useState } from 'preact/hooks';
import { CheckField, ChoiceField, Slider } from '../components/fields.tsx';
import { HeatMap } from '../components/heat-map.tsx';
import { Swatches } from '../components/swatches.tsx';
import { TokenStrip } from '../components/token-strip.tsx';
import { shownBranches } from '../components/weights.ts';
import { byFormula, largestDifference, randomRows, weightsOf } from './small-layer.ts';
import { formatNumber } from '../../src/report/quantities.ts';

const length = 24;
const group = 6;
const rows = randomRows(length, 7);
const names = Array.from({ length }, (_, position) => String(position));

/** Filter weights by offset from the middle. */
const shapes = {
  near: { title: 'nearer counts more', weight: (offset: number) => 0.9 / (1 + Math.abs(offset)) },
  even: { title: 'all alike', weight: () => 0.4 },
  change: { title: 'what has changed', weight: (offset: number) => (offset === 0 ? 0.8 : -0.3 / Math.abs(offset)) },
} as const;
type Shape = keyof typeof shapes;
const shapeTitles: Readonly<Record<Shape, string>> = {
  near: shapes.near.title,
  even: shapes.even.title,
  change: shapes.change.title,
};

export function ConvolutionFigure() {
  const [kernel, setKernel] = useState(9);
  const [shape, setShape] = useState<Shape>('near');
  const [masked, setMasked] = useState(true);
  const [t, setT] = useState(12);
  const reach = (kernel - 1) / 2;
  const { weights, leak } = useMemo(() => {
    const filter = Array.from({ length: kernel }, (_, index) => shapes[shape].weight(index - (kernel - 1) / 2));
    const mixer = { group, filter, masked };
    // The last row changes: do outputs before it move?
    const other = randomRows(1, 8);
    const swap = (all: readonly Float64Array[], by: Float64Array): Float64Array[] => [...all.slice(0, -1), by];
    const changed = { q: swap(rows.q, other.q[0]), k: swap(rows.k, other.k[0]), v: swap(rows.v, other.v[0]) };
    const past = (outputs: readonly Float64Array[]): Float64Array[] => outputs.slice(0, -1);
    return {
      weights: weightsOf(mixer, rows),
      leak: largestDifference(past(byFormula(mixer, rows)), past(byFormula(mixer, changed))),
    };
  }, [kernel, shape, masked]);
  const layers = (['window', 'memory', 'convolution'] as const).map((branch) => ({
    weights: weights[branch],
    series: shownBranches[branch].series,
  }));
  const most = Math.max(
    ...layers.flatMap((layer) => [...layer.weights.subarray(t * length, (t + 1) * length)].map(Math.abs)),
  );
  const bars = layers.map(({ weights: all, series }) =>
    names.map((_, j) => [{ share: Math.abs(all[t * length + j]) / (most || 1), series }]),
  );
  const first = Math.max(0, t - reach);
  const last = masked ? t : Math.min(length - 1, t + reach);
  const across = Math.max(0, t - (t % group) - first);
  return (
    <figure class="interactive">
      <Slider label="Filter length, K" value={kernel} min={1} max={15} step={2} onValue={setKernel} />
      <ChoiceField label="Filter" value={shape} choices={shapeTitles} onValue={setShape} />
      <CheckField label="Mask the future" checked={masked} onValue={setMasked} />
      <p class="verdict" role="status">
        The filter of position {t} reads positions {first} to {last}
        {across > 0 ? `, ${across} of them beyond the edge of its group` : ', all in its own group'}
        {last > t ? `, and ${last - t} of the future` : ''}.
      </p>
      <TokenStrip label="Reading position" tokens={names} chosen={t} onChosen={setT} bars={bars} />
      <Swatches
        of={[
          { ...shownBranches.window, title: 'local' },
          { ...shownBranches.memory, title: 'global' },
          { ...shownBranches.convolution, title: 'convolution' },
        ]}
      />
      <HeatMap
        title={`Weights of ${length} positions in groups of ${group} with a ${masked ? 'masked' : 'centred, unmasked'} filter of ${kernel} weights`}
        length={length}
        layers={layers}
        cell={12}
        row={t}
        onRow={setT}
      />
      <figcaption>
        If the last token changes, outputs before it move by <output data-leak={leak}>{formatNumber(leak, 3)}</output>{' '}
        at most.
      </figcaption>
    </figure>
  );
}
