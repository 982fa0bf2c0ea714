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

/** The mixer of the converted layers: the size of a window, and the memory of older positions. */
export interface MixerOptions {
  /** Bytes of float32 state of the converted layers; default: G = 64. */
  readonly stateBytes?: number;
  /** G, in place of `stateBytes`. */
  readonly group?: number;
  /** Feature map of the memory of positions older than the window; default `learned`. */
  readonly memory?: ConversionMemory;
  /** First positions that are always read; default 4. */
  readonly sinks?: number;
  /** Instead of a window that is chosen by `group`, `stateBytes`, `memory` and `sinks`. */
  readonly mixer?: MixerConfig;
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
 * @param converted how many they are
 * @throws LinnetError `INPUT` for a state that is too small for the smallest window
 */
export function chooseMixer(
  model: CausalModel,
  { mixer, group, stateBytes: bytes, memory = 'learned', sinks = usualSinks }: MixerOptions,
  converted: number,
): MixerConfig {
  if (mixer !== undefined) return mixer;
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
