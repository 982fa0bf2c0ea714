/** Choosing the mixer of a conversion: the widest window whose state fits. */
import type { MixerConfig } from '../attention/mixer.ts';
import { parseMixer, stateBytes } from '../attention/mixers.ts';
import { LinnetError } from '../errors.ts';
import { type CausalModel, valueWidth } from '../models/model.ts';
import { formatBytes } from '../report/quantities.ts';

/** Group sizes that are considered, the widest first. */
const groups = [512, 256, 128, 64, 32, 16, 8] as const;
/** Default G, without a bound on the state's bytes. */
const usualGroup = 64;
const window = 2;
const usualSinks = 4;

/** Memories of a conversion for positions older than the window: sums that decay, or none. */
export const conversionMemories = ['learned', 'none'] as const;
/** The feature map of the memory, `none` for a window alone. */
export type ConversionMemory = (typeof conversionMemories)[number];

const memoryConfigs = { learned: { decay: 'learned' }, none: null } as const;

/** The window mixer with W = 2, as a rule with a learned memory that decays: see docs/convert.md. */
function windowOf(group: number, memory: ConversionMemory, sinks: number): MixerConfig {
  return parseMixer({ kind: 'window', group, window, sinks, memory: memoryConfigs[memory] });
}

/** The size of the window, and the memory of older positions. */
interface WindowChoice {
  /** G; in place of `bytes`. */
  readonly group?: number;
  /** The largest state of all converted layers together, float32; default: G = 64, of any size. */
  readonly bytes?: number;
  /** Default `learned`. */
  readonly memory?: ConversionMemory;
  /** First positions that are always read; default 4. */
  readonly sinks?: number;
}

/** @throws LinnetError `INPUT` for keeping all layers or more */
export function requireConverted(kept: number, layers: number): void {
  if (kept >= layers) throw new LinnetError('INPUT', `keeping ${kept} of ${layers} layers leaves none to convert`);
}

/** Bytes of float32 state of `layers` layers with one mixer. */
export function stateOfLayers(model: CausalModel, mixer: MixerConfig, layers: number): number {
  return layers * stateBytes(mixer, { ...model.sizes, valueWidth: valueWidth(model.sizes) }, 4);
}

/**
 * The mixer for the layers that are converted.
 * @param options.converted how many layers are converted
 * @throws LinnetError `INPUT` for a state that is too small for the smallest window
 */
export function chooseMixer(
  model: CausalModel,
  { group, bytes, memory = 'learned', sinks = usualSinks, converted }: WindowChoice & { readonly converted: number },
): MixerConfig {
  if (group !== undefined) return windowOf(group, memory, sinks);
  if (bytes === undefined) return windowOf(usualGroup, memory, sinks);
  const fitting = groups
    .map((size) => windowOf(size, memory, sinks))
    .find((mixer) => stateOfLayers(model, mixer, converted) <= bytes);
  if (fitting !== undefined) return fitting;
  const least = stateOfLayers(model, windowOf(groups[groups.length - 1], memory, sinks), converted);
  throw new LinnetError(
    'INPUT',
    `a state of ${formatBytes(bytes)} is too small for ${converted} layers; give at least ${formatBytes(least)}`,
  );
}
