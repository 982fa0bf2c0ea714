/** Queries on any mixer: visibility, state, branches. */
import { LinnetError } from '../errors.ts';
import { type ConvolutionConfig, filterName, isCausalConvolution } from './convolution-config.ts';
import { checkContext, checkDims, grows, stateNumbers } from './state.ts';
import type { AttentionDims, Branch, Calibration, Horizon, MixerConfig, RecurrentForm, StateShape } from './mixer.ts';
import { kindOf, parseMixer, describeMixer } from './mixer-config.ts';

/** The convolution of a mixer; null where it has none. */
export function convolutionOf(config: MixerConfig): ConvolutionConfig | null {
  return kindOf(config).convolution(config);
}

/**
 * A mixer with the masked convolution of K filter weights added; undefined for a kind that cannot have one.
 * @throws LinnetError `CONFIG` for an even kernel
 */
export function withConvolutionAdded(config: MixerConfig, kernel?: number): MixerConfig | undefined {
  const takesOne = kindOf(config).schema.safeParse({ ...config, convolution: {} }).success;
  return takesOne ? parseMixer({ ...config, convolution: { kernel } }) : undefined;
}

/** A mixer with a branch switched off; undefined for one that has no such branch. Its parameters are among the mixer's own. */
export function withoutBranch(config: MixerConfig, branch: Branch): MixerConfig | undefined {
  const rest = kindOf(config).without?.[branch]?.(config);
  return rest === undefined ? undefined : parseMixer(rest);
}

/** Calibration of a mixer for the closed-form initialization, in a model trained on texts of `trainedLength` tokens. */
export function calibrationOf(config: MixerConfig, trainedLength: number): Calibration {
  const affine = convolutionOf(config) === null ? [] : [filterName]; // a convolution is added to what attention gives
  return kindOf(config).calibration?.(config, trainedLength) ?? { affine, searched: [] };
}

/** Width of a row of queries or keys as the mixer is given it: D in most kinds. */
export function rowWidth(config: MixerConfig, headWidth: number): number {
  return kindOf(config).rowWidth?.(config, headWidth) ?? headWidth;
}

/** Whether no position reads a later one. */
export function isCausal(config: MixerConfig): boolean {
  return kindOf(config).readsFuture !== true && isCausalConvolution(convolutionOf(config));
}

/** Whether encoders can have it: a form in which each position reads the whole text. */
export function fitsEncoders(config: MixerConfig): boolean {
  return kindOf(config).bidirectional !== undefined;
}

/** G: positions per group; infinite where one group never ends. */
export function groupOf(config: MixerConfig): number {
  return horizonOf(config).group;
}

/** How far a mixer sees. @param biasReach the farthest distance that a bias of the scores tells apart; default none */
export function horizonOf(config: MixerConfig, biasReach = -1): Horizon {
  const horizon = kindOf(config).horizon(config);
  if (biasReach < 0) return horizon;
  const { group, reach, window = 1, sinks = 0 } = horizon;
  // Sinks are scored from any distance.
  const farthest = sinks > 0 ? biasReach : Math.min(biasReach, window * group - 1);
  return { ...horizon, reach: Math.max(reach, farthest) };
}

/** The longest sequence that a mixer's parameters serve; infinite for most. */
export function longestSequence(config: MixerConfig): number {
  return kindOf(config).maximumLength?.(config) ?? Number.POSITIVE_INFINITY;
}

/** Whether the gradient of queries and keys is a surrogate, not the derivative. */
export function hasSurrogateGradient(config: MixerConfig): boolean {
  return kindOf(config).hasSurrogateGradient?.(config) ?? false;
}

/** The form over token trees. @throws LinnetError `CONFIG` for a mixer that reads the future, or has no such form */
export function recurrentForm(config: MixerConfig): RecurrentForm<MixerConfig> {
  const { recurrent } = kindOf(config);
  if (recurrent !== undefined && isCausal(config)) return recurrent;
  throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads later positions and cannot decode`);
}

/**
 * The state of one layer for one sequence.
 * @throws LinnetError `CONFIG` for impossible sizes, or for a mixer that cannot decode and so has no state.
 */
export function stateShape(config: MixerConfig, dims: AttentionDims): StateShape {
  checkDims(dims);
  return recurrentForm(config).state(config, dims);
}

/** Whether the state takes more room after a longer text. @throws LinnetError `CONFIG` for a mixer that cannot decode */
export function growsWithText(config: MixerConfig): boolean {
  return grows(stateShape(config, { heads: 1, keyValueHeads: 1, headWidth: 1 }));
}

/**
 * Bytes of the state of one layer for one sequence.
 *
 * @param bytesPerNumber 4 for float32 (default), 2 for float16
 * @param context committed positions; matters, and must be given, only where the state grows with them
 * @throws LinnetError `CONFIG` as `stateShape`, and for a growing state without a context.
 */
export function stateBytes(config: MixerConfig, dims: AttentionDims, bytesPerNumber = 4, context?: number): number {
  const shape = stateShape(config, dims);
  if (grows(shape) && context === undefined) {
    throw new LinnetError(
      'CONFIG',
      `the state of ${describeMixer(config)} grows with the text: give the context length too`,
    );
  }
  const numbers = stateNumbers(shape, dims.keyValueHeads, groupOf(config), checkContext(context ?? 0));
  return numbers * bytesPerNumber;
}

/** Float32 error against the formula beyond the order of sums: see `MixerKind.float32Error`. */
export function float32Error(config: MixerConfig): number {
  return kindOf(config).float32Error?.(config) ?? 0;
}
