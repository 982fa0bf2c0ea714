/** Mamba-2 as loops over positions and the positions they read, nearest first. */
import { addScaled, dot, type ReferencePositions } from '../../reference.ts';
import { softplusOf } from '../gated/decay.ts';
import {
  filterBiasName,
  mamba2Channels,
  mamba2FilterName,
  logRateName,
  type Mamba2Mixer,
  skipName,
  stepBiasName,
} from './config.ts';

/** Γ groups of R heads side by side: [Γ,n,RP]. */
export function mamba2Reference(config: Mamba2Mixer, positions: ReferencePositions): Float64Array {
  const { heads, headWidth: P, state: N, groups, least, most } = config;
  const R = heads / groups;
  const known = new Map<string, readonly Float64Array[]>();
  /** x, B and C of a group at a position, filtered. */
  const filtered = (group: number, at: number): readonly Float64Array[] => {
    const found = known.get(`${group} ${at}`) ?? filteredRows(config, positions, group, at);
    known.set(`${group} ${at}`, found);
    return found;
  };
  const rates = positions.parameter(logRateName).map((rate) => -Math.exp(rate));
  const stepOf = (group: number, at: number, r: number): number => {
    const given = positions.query(group, at)[N + r] + positions.parameter(stepBiasName)[group * R + r];
    return Math.min(Math.max(softplusOf(given), least), most ?? Number.POSITIVE_INFINITY);
  };
  return positions.mapRows((group, position) => {
    const [own, , query] = filtered(group, position);
    const exponents = new Float64Array(R);
    const mixed = own.map((x, i) => positions.parameter(skipName)[group * R + Math.floor(i / P)] * x);
    for (const at of positions.lineage(position)) {
      const [x, key] = filtered(group, at);
      const score = dot(query, key);
      for (let r = 0; r < R; r++) {
        const dt = stepOf(group, at, r);
        const part = [r * P, (r + 1) * P] as const;
        addScaled(mixed.subarray(...part), Math.exp(exponents[r]) * score * dt, x.subarray(...part));
        exponents[r] += rates[group * R + r] * dt;
      }
    }
    return mixed;
  });
}

function filteredRows(
  config: Mamba2Mixer,
  positions: ReferencePositions,
  group: number,
  position: number,
): readonly Float64Array[] {
  const { groups, kernel, state: N } = config;
  const past = positions.lineage(position).slice(0, kernel);
  const sources = [
    (at: number) => positions.value(group, at),
    (at: number) => positions.key(group, at).subarray(0, N),
    (at: number) => positions.query(group, at).subarray(0, N),
  ];
  let first = 0;
  return mamba2Channels(config).map((channels, part) => {
    const start = first + (group * channels) / groups;
    first += channels;
    return Float64Array.from({ length: channels / groups }, (_, i) => {
      const filter = positions.parameter(mamba2FilterName).subarray((start + i) * kernel);
      const sum = past.reduce((total, at, back) => total + filter[kernel - 1 - back] * sources[part](at)[i], 0);
      const open = sum + (config.bias ? positions.parameter(filterBiasName)[start + i] : 0);
      return open / (1 + Math.exp(-open));
    });
  });
}
