/**
 * Where a mixer can go wrong: the layers that share it, and lengths and positions around its groups' edges and its filter's
 * reach.
 */
import { sort } from 'd3-array';
import { convolutionReach } from '../../attention/convolution-config.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { convolutionOf, groupOf, longestSequence } from '../../attention/mixers.ts';
import type { ModelDescription } from '../../models/model.ts';
import { groupedBy } from '../../report/statistics.ts';

/** A model's distinct mixers, in the order of each one's first layer. */
export function sharedMixers(model: Pick<ModelDescription, 'mixers'>) {
  const layers = groupedBy([...model.mixers.keys()], (layer) => JSON.stringify(model.mixers[layer]));
  return layers.map((same) => ({ mixer: model.mixers[same[0]], layers: same }));
}

/** `layer 3`, `layers 0–4`, `layers 0, 2–3`. Layers are in ascending order. */
export function layerNames(layers: readonly number[]): string {
  const runs: { first: number; last: number }[] = [];
  for (const layer of layers) {
    const run = runs.at(-1);
    if (run !== undefined && layer === run.last + 1) run.last = layer;
    else runs.push({ first: layer, last: layer });
  }
  const names = runs.map(({ first, last }) => (first === last ? String(first) : `${first}–${last}`));
  return `${layers.length === 1 ? 'layer' : 'layers'} ${names.join(', ')}`;
}

/** Replaces G if one group never ends, as in softmax attention: forms differ in chunks all the same. */
const endlessGroup = 16;

/** G, or its substitute. */
export function checkedGroup(mixer: MixerConfig): number {
  const group = groupOf(mixer);
  return group === Number.POSITIVE_INFINITY ? endlessGroup : group;
}

/** Three groups and a bit, or twice the convolution's reach: an odd length that fills every part of the state. */
export function checkedLength(mixers: readonly MixerConfig[], maximum: number): number {
  const wanted = mixers.map((mixer) => {
    const convolution = convolutionOf(mixer);
    const reach = convolution === null ? 0 : convolutionReach(convolution.kernel);
    return Math.max(3 * checkedGroup(mixer) + 5, 2 * reach + 5);
  });
  const longest = mixers.map(longestSequence);
  return Math.min(Math.max(...wanted), maximum, ...longest);
}

/** Lengths at which a mixer's forms are compared: 1, around one and two groups, and the longest. */
export function comparedLengths(mixer: MixerConfig, maximum: number): number[] {
  const G = checkedGroup(mixer);
  const longest = checkedLength([mixer], maximum);
  return ascending([1, G - 1, G, G + 1, 2 * G - 1, longest], 1, longest);
}

/** Last unchanged positions t in the leak tests: the first, around all groups' edges, and the last but one. */
export function cutPositions(mixers: readonly MixerConfig[], length: number): number[] {
  const edges = mixers.map(checkedGroup).flatMap((G) => [G - 2, G - 1, G, 2 * G - 2, 2 * G - 1, 2 * G]);
  return ascending([0, ...edges, length - 2], 0, length - 2);
}

/** Committed lengths under the trees: ending before, on and after a group's edge, and none. */
export function committedLengths(mixer: MixerConfig, maximum: number): number[] {
  const G = checkedGroup(mixer);
  return ascending([0, G - 2, 2 * G - 1, 2 * G, 2 * G + 3], 0, maximum);
}

function ascending(values: readonly number[], least: number, most: number): number[] {
  return sort(new Set(values)).filter((value) => value >= least && value <= most);
}
