/** Choosing the mixer of a conversion: the widest window whose state fits. */
import type { MixerConfig } from '../attention/mixer.ts';
import { parseMixer, stateBytes } from '../attention/mixers.ts';
import { LinnetError } from '../errors.ts';
import { type CausalModel, valueWidth } from '../models/model.ts';
import { formatBytes } from '../report/quantities.ts';

/** Group sizes that are considered, the widest first. */
const groups = [512, 256, 128, 64, 32, 16, 8] as const;
/** G where nothing is said about the state. */
const usualGroup = 64;
const window = 2;
const sinks = 4;

/** The window mixer with a learned memory that decays, W = 2 and four sinks: see docs/conversion.md. */
function windowOf(group: number): MixerConfig {
  return parseMixer({ kind: 'window', group, window, sinks, memory: { decay: 'learned' } });
}

/** Bytes of float32 state of so many layers with one mixer. */
export function stateOfLayers(model: CausalModel, mixer: MixerConfig, layers: number): number {
  return layers * stateBytes(mixer, { ...model.sizes, valueWidth: valueWidth(model.sizes) }, 4);
}

/**
 * The mixer for the layers that are converted.
 * @param options.bytes the largest state of all converted layers together, float32; default: G = 64 whatever it takes
 * @param options.converted how many layers are converted
 * @throws LinnetError `INPUT` for a state that is too small for the smallest window
 */
export function chooseMixer(
  model: CausalModel,
  { bytes, converted }: { readonly bytes?: number; readonly converted: number },
): MixerConfig {
  if (bytes === undefined) return windowOf(usualGroup);
  const fitting = groups.map(windowOf).find((mixer) => stateOfLayers(model, mixer, converted) <= bytes);
  if (fitting !== undefined) return fitting;
  const least = stateOfLayers(model, windowOf(groups[groups.length - 1]), converted);
  throw new LinnetError(
    'INPUT',
    `a state of ${formatBytes(bytes)} is too small for ${converted} layers; give at least ${formatBytes(least)}`,
  );
}
