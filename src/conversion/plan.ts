/** Chooses a conversion's mixer: the widest window whose state fits. */
import type { MixerConfig } from '../attention/mixer.ts';
import { parseMixer, stateBytes } from '../attention/mixers.ts';
import { LinnetError } from '../errors.ts';
import { type CausalModel, valueWidth } from '../models/model.ts';
import { formatBytes } from '../report/quantities.ts';

/** Group sizes to consider, widest first. */
const groups = [512, 256, 128, 64, 32, 16, 8] as const;
/** Default G, if the state's bytes are not bounded. */
const usualGroup = 64;
const window = 2;
const usualSinks = 4;

/** A conversion's memories for positions older than the window: decaying sums, or none. */
export const conversionMemories = ['learned', 'none'] as const;
/** The memory's feature map, `none` for a window alone. */
export type ConversionMemory = (typeof conversionMemories)[number];

const memoryConfigs = { learned: { decay: 'learned' }, none: null } as const;

/** The window mixer with W = 2, usually with a learned, decaying memory: see docs/convert.md. */
function windowOf(group: number, memory: ConversionMemory, sinks: number): MixerConfig {
  return parseMixer({ kind: 'window', group, window, sinks, memory: memoryConfigs[memory] });
}

/** The converted layers' mixer: the window's size, and the memory for older positions. */
export interface MixerOptions {
  /** Bytes of the converted layers' float32 state; default: G = 64. */
  readonly stateBytes?: number;
  /** G, instead of `stateBytes`. */
  readonly group?: number;
  /** Feature map of the memory for positions older than the window; default `learned`. */
  readonly memory?: ConversionMemory;
  /** First positions, always read; default 4. */
  readonly sinks?: number;
  /** Replaces the window that `group`, `stateBytes`, `memory` and `sinks` describe. */
  readonly mixer?: MixerConfig;
}

/** @throws LinnetError `INPUT` if all layers or more are kept */
export function requireConverted(kept: number, layers: number): void {
  if (kept >= layers) throw new LinnetError('INPUT', `keeping ${kept} of ${layers} layers leaves none to convert`);
}

/** Bytes of float32 state for `layers` layers with one mixer. */
export function stateOfLayers(model: CausalModel, mixer: MixerConfig, layers: number): number {
  return layers * stateBytes(mixer, { ...model.sizes, valueWidth: valueWidth(model.sizes) }, 4);
}

/**
 * The converted layers' mixer.
 * @param converted the number of these layers
 * @throws LinnetError `INPUT` for a state too small for the smallest window
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
