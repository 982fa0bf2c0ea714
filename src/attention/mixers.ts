/** Functions for mixers of any kind, on the table of `kinds/index.ts`: configurations, queries, parameters, state, graphs. */
import { z } from 'zod';
import { internalError, LinnetError } from '../errors.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import { validated } from '../files/schema-problems.ts';
import type { Value } from '../graph/graph.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { formatShape, sameShape } from '../graph/tensor.ts';
import { type ConvolutionConfig, filterName, isCausalConvolution, reachOf } from './convolution-config.ts';
import { centredConvolution } from './convolution.ts';
import { groupingOf } from './grouping.ts';
import { findMixerKind, mixerKinds } from './kinds/index.ts';
import type {
  AttentionDims,
  Branch,
  Calibration,
  CrossForm,
  Horizon,
  MixerConfig,
  MixerKind,
  MixerParameter,
  MixerParameterValues,
  MixerStepOutput,
  ProjectedPositions,
  RecurrentForm,
  SequenceInput,
  StateShape,
  StepInput,
} from './mixer.ts';
import { type ReferenceInput, ReferencePositions } from './reference.ts';
import { scaledScoring, type Scoring } from './scoring.ts';
import { checkDims, grows, stateNumbers } from './state.ts';

/** Fields with the same meaning in every kind that has them. */
interface CommonFields {
  readonly group?: number;
  readonly convolution?: ConvolutionConfig | null;
}

/** A mixer's kind. @throws LinnetError `CONFIG` for a kind that is not in the table */
export function kindOf({ kind }: MixerConfig): MixerKind {
  const found = findMixerKind(kind);
  if (found !== undefined) return found;
  const known = mixerKinds().map((each) => each.kind);
  throw new LinnetError('CONFIG', `there is no mixer of kind '${kind}'; known: ${known.join(', ')}`);
}

const kindSchema = z.looseObject({ kind: z.string() });

/** A schema for mixers of the kinds that `allows` admits, to embed in a model's configuration. Refuses unknown fields. */
export function mixerSchemaOf(allows: (kind: MixerKind) => boolean = () => true): z.ZodType<MixerConfig> {
  return z.unknown().transform((value, context): MixerConfig => {
    const named = kindSchema.safeParse(value);
    const kind = named.success ? findMixerKind(named.data.kind) : undefined;
    if (kind === undefined || !allows(kind)) {
      const known = mixerKinds()
        .filter(allows)
        .map((each) => each.kind);
      const found = named.success ? `, found ${quoteName(named.data.kind)}` : '';
      const message = `expected a mixer${found}; its kind is one of ${listNames(known, 20)}, or one that registerMixer added`;
      context.addIssue({ code: 'custom', path: ['kind'], message });
      return z.NEVER;
    }
    const result = kind.schema.safeParse(value);
    if (result.success) return result.data;
    for (const { path, message } of result.error.issues) context.addIssue({ code: 'custom', path, message });
    return z.NEVER;
  });
}

/** The schema of any mixer. */
export const mixerSchema: z.ZodType<MixerConfig> = mixerSchemaOf();

/** Checks a configuration and fills in the defaults. @throws LinnetError `CONFIG` naming every wrong field. */
export function parseMixer(value: unknown): MixerConfig {
  return validated(mixerSchema, value, 'CONFIG', 'invalid mixer configuration');
}

/** A one-line description, for example `local relu² + α·global + convolution 63, G = 64`. */
export function describeMixer(config: MixerConfig): string {
  return kindOf(config).describe(config);
}

/** Whether other mixers can replace it in its layer: attention, or a gated attention unit. */
export function isExchangeable(config: MixerConfig): boolean {
  return kindOf(config).ownDims === undefined;
}

/** Sizes of a mixer's layer: its model's attention's, or the kind's own. @param model.width of hidden states */
export function mixerDims(config: MixerConfig, model: AttentionDims & { readonly width: number }): AttentionDims {
  const { heads, keyValueHeads, headWidth, valueWidth = headWidth } = model;
  return kindOf(config).ownDims?.(config, model) ?? { heads, keyValueHeads, headWidth, valueWidth };
}

/** The parameters that a mixer adds to a layer, by name and shape. */
export function mixerParameters(config: MixerConfig, dims: AttentionDims): MixerParameter[] {
  return kindOf(config).parameters(config, dims);
}

/** A mixer's convolution; null if it has none. */
export function convolutionOf({ convolution = null }: MixerConfig & CommonFields): ConvolutionConfig | null {
  return convolution;
}

/**
 * A mixer with the masked convolution of K filter weights added; undefined for a kind that cannot have one.
 * @throws LinnetError `CONFIG` for an even kernel
 */
export function withConvolutionAdded(config: MixerConfig, kernel?: number): MixerConfig | undefined {
  const takesOne = kindOf(config).schema.safeParse({ ...config, convolution: {} }).success;
  return takesOne ? parseMixer({ ...config, convolution: { kernel } }) : undefined;
}

/** A mixer with a branch switched off; undefined if it has no such branch. Its parameters are a subset of the mixer's. */
export function withoutBranch(config: MixerConfig, branch: Branch): MixerConfig | undefined {
  const unfiltered = branch === 'convolution' && convolutionOf(config) && { ...config, convolution: null };
  return mixerSchema.safeParse(kindOf(config).without?.[branch]?.(config) ?? unfiltered).data;
}

/** A mixer's calibration for the closed-form initialization, in a model trained on texts of `trainedLength` tokens. */
export function calibrationOf(config: MixerConfig, trainedLength: number): Calibration {
  const { affine = [], searched = [] } = kindOf(config).calibration?.(config, trainedLength) ?? {};
  // Attention's output gets the convolution added.
  return { affine: convolutionOf(config) === null ? affine : [...affine, filterName], searched };
}

/** Width of the query and key rows a mixer receives: D in most kinds. */
export function rowWidth(config: MixerConfig, headWidth: number): number {
  return kindOf(config).rowWidth?.(config, headWidth) ?? headWidth;
}

/** Whether no position reads a later one. */
export function isCausal(config: MixerConfig): boolean {
  return kindOf(config).readsFuture !== true && isCausalConvolution(convolutionOf(config));
}

/** Whether encoders can have it, through a form in which each position reads the whole text. */
export function fitsEncoders(config: MixerConfig): boolean {
  return kindOf(config).bidirectional !== undefined;
}

/** G: positions per group; infinite if one group never ends. */
export function groupOf(config: MixerConfig): number {
  return horizonOf(config).group;
}

/** How far a mixer sees. @param biasReach the farthest distance that the scores' bias distinguishes; default none */
export function horizonOf(config: MixerConfig, biasReach = -1): Horizon {
  const { group: own = Number.POSITIVE_INFINITY }: MixerConfig & CommonFields = config;
  const horizon = kindOf(config).horizon?.(config) ?? { group: own, reach: reachOf(convolutionOf(config)) };
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

/** Whether queries and keys get a surrogate gradient, not the derivative. */
export function hasSurrogateGradient(config: MixerConfig): boolean {
  return kindOf(config).hasSurrogateGradient?.(config) ?? false;
}

/** Whether a mixer has a form over token trees. */
export function canDecode(config: MixerConfig): boolean {
  return kindOf(config).recurrent !== undefined && isCausal(config);
}

/**
 * The form over token trees.
 * @param replays whether graphs may use the runtime's recurrence operators; default true
 * @throws LinnetError `CONFIG` for a mixer that reads the future, or lacks this form
 */
export function recurrentForm(config: MixerConfig, replays = true): RecurrentForm<MixerConfig> {
  const { recurrent } = kindOf(config);
  if (recurrent !== undefined && isCausal(config)) return (replays ? undefined : recurrent.byProducts) ?? recurrent;
  throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads later positions and cannot decode`);
}

/**
 * The state of one layer for one sequence.
 * @throws LinnetError `CONFIG` for impossible sizes, or for a mixer that cannot decode and so has no state.
 */
export function stateShape(config: MixerConfig, dims: AttentionDims, form = recurrentForm(config)): StateShape {
  checkDims(dims);
  return form.state(form.stepConfig?.(config) ?? config, dims);
}

/** Whether the state grows with the text. @throws LinnetError `CONFIG` for a mixer that cannot decode */
export function growsWithText(config: MixerConfig): boolean {
  return grows(stateShape(config, { heads: 1, keyValueHeads: 1, headWidth: 1 }));
}

/**
 * Bytes of one layer's state for one sequence.
 *
 * @param bytesPerNumber 4 for float32 (default), 2 for float16
 * @param context committed positions; required, and used, only if the state grows with them
 * @throws LinnetError `CONFIG` like `stateShape`, and for a growing state without a context.
 */
export function stateBytes(config: MixerConfig, dims: AttentionDims, bytesPerNumber = 4, context?: number): number {
  const shape = stateShape(config, dims);
  if (grows(shape) && context === undefined) {
    throw new LinnetError(
      'CONFIG',
      `the state of ${describeMixer(config)} grows with the text: also give the context length`,
    );
  }
  const numbers = stateNumbers(shape, dims.keyValueHeads, groupOf(config), context ?? 0);
  return numbers * bytesPerNumber;
}

/** Float32 error against the reference, beyond rounding from summation order: see `MixerKind.float32Error`. */
export function float32Error(config: MixerConfig): number {
  return kindOf(config).float32Error?.(config) ?? 0;
}

export * from './mixer.ts';

/**
 * Requires every parameter, in its shape: a forgotten α would count as 1, a forgotten filter as no convolution.
 * @throws LinnetError `TENSOR` naming the parameter
 */
function requireParameters(config: MixerConfig, { q, k, v }: ProjectedPositions, values: MixerParameterValues): void {
  const [heads, keyValueHeads] = [Number(q.shape[2]), Number(k.shape[2])];
  const dims = { heads, keyValueHeads, headWidth: Number(q.shape[3]), valueWidth: Number(v.shape[3]) };
  for (const { name, shape } of mixerParameters(config, dims)) {
    const value = values[name];
    if (value !== undefined && sameShape(value.shape, shape)) continue;
    const given = value === undefined ? 'it is missing' : `got ${value}`;
    throw new LinnetError('TENSOR', `'${describeMixer(config)}' needs ${name} ${formatShape(shape)}; ${given}`);
  }
}

function sequenceInput(
  config: MixerConfig,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
  scoring: Scoring = scaledScoring(Number(positions.q.shape[3])),
): SequenceInput {
  requireParameters(config, positions, parameters);
  return { ...positions, parameters, scoring };
}

/**
 * Mixes whole sequences; each position reads itself and its past.
 *
 * Sequences shorter than n are padded at the end: nothing flows from later to earlier positions, so padding does not
 * disturb them.
 *
 * @param scoring default q·k/√D
 * @returns [B,n,H,E]
 * @throws LinnetError `TENSOR` for a missing or misshapen parameter
 */
export function mixParallel(
  config: MixerConfig,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
  scoring?: Scoring,
): Value {
  return kindOf(config).parallel(config, sequenceInput(config, positions, parameters, scoring));
}

/**
 * Mixes B trees' nodes on top of a state.
 * @throws LinnetError `CONFIG` for a mixer that cannot decode, `TENSOR` for a missing or misshapen parameter
 */
export function mixStep(config: MixerConfig, input: StepInput, form = recurrentForm(config)): MixerStepOutput {
  requireParameters(config, input, input.parameters);
  return form.step(config, input);
}

/**
 * Mixes whole texts; each position reads all tokens. Zeroes values at padded positions before anything reads them.
 *
 * In cross attention queries come from another text of m positions: see `mixCross`.
 *
 * @param positions q [B,m,H,D], k [B,n,M,D] and v [B,n,M,E]; m = n except in cross attention
 * @param mask float32 [B,n]: 1 for tokens, 0 for padding
 * @returns [B,m,H,E]; finite at padded positions, and in a text without any token
 * @throws LinnetError `SHAPE` for a mask of another shape, or a text longer than Linformer's projections; `CONFIG` for a
 *   mixer without this form; `TENSOR` for a missing parameter
 */
export function mixBidirectional(
  config: MixerConfig,
  positions: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
  scoring?: Scoring,
): Value {
  if (positions.q.shape[1] !== positions.k.shape[1]) return mixCross(config, positions, mask, parameters, scoring);
  const kind = kindOf(config);
  const input = maskedInput(config, positions, mask, parameters, scoring);
  if (kind.bidirectional === undefined) {
    throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads only the past and has no form for encoders`);
  }
  const attention = kind.bidirectional(config, input);
  const whole = groupingOf(input, Number.POSITIVE_INFINITY);
  const read = kind.convolvesPadding?.(config) === true ? positions.v : input.v;
  const filtered = centredConvolution(convolutionOf(config), whole, read, parameters);
  if (attention !== undefined) return filtered === undefined ? attention : add(attention, filtered);
  if (filtered !== undefined) return filtered;
  throw internalError('a mixer without branches');
}

function maskedInput(
  config: MixerConfig,
  { q, k, v }: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
  scoring?: Scoring,
) {
  const [batch, length] = k.shape;
  if (!sameShape(mask.shape, [batch, length])) {
    throw new LinnetError('SHAPE', `the mask of keys must be ${formatShape([batch, length])}, got ${mask}`);
  }
  const values = mul(v, reshape(mask, [batch, length, 1, 1]));
  return { ...sequenceInput(config, { q, k, v: values }, parameters, scoring), mask };
}

/**
 * The cross-attention form; each of the two texts has its own positions.
 * @throws LinnetError `CONFIG` for a mixer that pairs the two, by a local group, a convolution or castling
 */
export function crossForm(config: MixerConfig): CrossForm<MixerConfig> {
  const kind = kindOf(config);
  const able = convolutionOf(config) === null && (kind.canCross?.(config) ?? true);
  if (kind.cross !== undefined && able) return kind.cross;
  throw new LinnetError(
    'CONFIG',
    `'${describeMixer(config)}' pairs positions and has no cross attention; use a mixer without local groups and convolution`,
  );
}

/** A mixer's form for cross attention: without its convolution; for a grouped mixer only the global branch. */
export function betweenTexts(config: MixerConfig): MixerConfig {
  const own = kindOf(config).betweenTexts?.(config);
  if (own !== undefined) return parseMixer(own);
  return convolutionOf(config) === null ? config : parseMixer({ ...config, convolution: null });
}

/**
 * Reads another text: q [B,m,H,D], k [B,n,M,D] and v [B,n,M,E] with their mask [B,n].
 * @returns [B,m,H,E]
 * @throws LinnetError like `crossForm` and `mixBidirectional`
 */
export function mixCross(
  config: MixerConfig,
  positions: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
  scoring?: Scoring,
): Value {
  const form = crossForm(config);
  const input = maskedInput(config, positions, mask, parameters, scoring);
  if (form.whole !== undefined) return form.whole(config, input);
  const memory = form.memory(config, { k: input.k, v: input.v, mask }, parameters, input.scoring);
  return form.read(config, input.q, memory, parameters, input.scoring);
}

/**
 * Runs a mixer's reference on one sequence, or one tree of positions, in float64.
 * @returns [H,n,E]
 * @throws LinnetError `SHAPE` or `INPUT` like `ReferencePositions`, `CONFIG` for a mixer that cannot read another text
 */
export function mixReference(config: MixerConfig, input: ReferenceInput): Float64Array {
  return kindOf(config).reference(config, referencePositions(config, input));
}

/** A reference's checked positions. @throws LinnetError like `mixReference` */
export function referencePositions(config: MixerConfig, input: ReferenceInput): ReferencePositions {
  const { length, keyLength = length } = input.dims;
  const positions = new ReferencePositions(input, {
    parameters: mixerParameters(config, input.dims),
    convolution: convolutionOf(config),
  });
  if (keyLength !== length) crossForm(config);
  return positions;
}
