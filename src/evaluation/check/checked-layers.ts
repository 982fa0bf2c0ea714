/** The layers of a model as the check speaks of them: together where they share a mixer. */
import type { MixerConfig } from '../../attention/mixer.ts';
import type { ModelDescription } from '../../models/model.ts';

/** Layers with equal mixers. */
export interface SharedMixer {
  readonly mixer: MixerConfig;
  readonly layers: readonly number[];
}

/** The different mixers of a model, in the order of the first layer that has each. */
export function sharedMixers(model: Pick<ModelDescription, 'mixers'>): SharedMixer[] {
  const shared = new Map<string, { mixer: MixerConfig; layers: number[] }>();
  model.mixers.forEach((mixer, layer) => {
    const key = JSON.stringify(mixer);
    const known = shared.get(key);
    if (known === undefined) shared.set(key, { mixer, layers: [layer] });
    else known.layers.push(layer);
  });
  return [...shared.values()];
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
