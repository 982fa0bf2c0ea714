/** Who reads whom in groups; running sums give the same outputs. */
import { useMemo, useState } from 'preact/hooks';
import { Slider } from '../components/fields.tsx';
import { HeatMap } from '../components/heat-map.tsx';
import { Swatches } from '../components/swatches.tsx';
import { TokenStrip } from '../components/token-strip.tsx';
import { shownBranches } from '../components/weights.ts';
import { formatNumber } from '../../src/report/quantities.ts';
import { byFormula, bySums, largestDifference, randomRows, weightsOf } from './small-layer.ts';

const length = 24;
const rows = randomRows(length, 1);
const names = Array.from({ length }, (_, position) => String(position));
const local = { ...shownBranches.window, title: 'local: own group, row by row' };
const global = { ...shownBranches.memory, title: 'global: earlier groups, through S' };

export function GroupFigure() {
  const [group, setGroup] = useState(6);
  const [t, setT] = useState(15);
  const { weights, difference } = useMemo(() => {
    const mixer = { group };
    return {
      weights: weightsOf(mixer, rows),
      difference: largestDifference(byFormula(mixer, rows), bySums(mixer, rows)),
    };
  }, [group]);
  const layers = [
    { weights: weights.window, series: local.series },
    { weights: weights.memory, series: global.series },
  ];
  const own = Math.floor(t / group);
  const first = own * group;
  const most = Math.max(
    ...layers.flatMap((layer) => [...layer.weights.subarray(t * length, (t + 1) * length)].map(Math.abs)),
  );
  const bars = names.map((_, j) =>
    layers.map((layer) => ({ share: Math.abs(layer.weights[t * length + j]) / (most || 1), series: layer.series })),
  );
  return (
    <figure class="interactive">
      <Slider label="Positions per group, G" value={group} min={1} max={12} step={1} onValue={setGroup} />
      <p class="verdict" role="status">
        Position {t} is in group {own}: it reads {t - first + 1} of {Math.min(group, length - first)} positions of its
        own group one by one, and {first} earlier ones through S.
      </p>
      <TokenStrip label="Reading position" tokens={names} chosen={t} onChosen={setT} bars={[bars]} />
      <Swatches of={[local, global]} />
      <HeatMap
        title={`Weights of ${length} positions in groups of ${group}: triangles of ${group} positions on the diagonal are local, all to their left is global`}
        length={length}
        layers={layers}
        cell={12}
        row={t}
        onRow={setT}
      />
      <figcaption>
        Outputs computed position by position, from S and the open group alone, differ from the sums over all positions
        by <output data-difference={difference}>{formatNumber(difference, 2)}</output> at most, in float64.
      </figcaption>
    </figure>
  );
}
