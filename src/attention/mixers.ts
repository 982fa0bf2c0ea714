/** Functions for mixers of any kind, by the table of `kinds/index.ts`: configurations, parameters, state, graphs. */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { formatShape, sameShape } from '../graph/shape.ts';
import { centredConvolution } from './convolution.ts';
import { groupingOf } from './grouping.ts';
import { type ReferenceInput, ReferencePositions } from './reference.ts';
import { scaledScoring, type Scoring } from './scoring.ts';
import type {
  CrossForm,
  MixerConfig,
  MixerParameterValues,
  ProjectedPositions,
  SequenceInput,
  StepInput,
  MixerStepOutput,
} from './mixer.ts';
import { kindOf, parseMixer, describeMixer, mixerParameters } from './mixer-config.ts';
import { convolutionOf, recurrentForm } from './mixer-facts.ts';

export * from './mixer.ts';
export * from './mixer-config.ts';
export * from './mixer-facts.ts';

/**
 * Requires every parameter in its shape: a forgotten α would count as 1, a forgotten filter as no convolution.
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
 * Mixes the positions of whole sequences, each position reading itself and its past.
 *
 * Sequences of a batch that are shorter than n are padded at the end: nothing flows from later to earlier positions, so
 * padding does not disturb them.
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
 * Mixes the nodes of B trees on top of a state.
 * @throws LinnetError `CONFIG` for a mixer that cannot decode, `TENSOR` for a missing or misshapen parameter
 */
export function mixStep(config: MixerConfig, input: StepInput): MixerStepOutput {
  const form = recurrentForm(config);
  requireParameters(config, input, input.parameters);
  return form.step(config, input);
}

/**
 * Mixes whole texts, each position reading all tokens. Values at padded positions are set to zero before anything reads them.
 *
 * In cross attention the queries come from another text, of m positions: see `mixCross`.
 *
 * @param positions q [B,m,H,D], k [B,n,M,D] and v [B,n,M,E]; m = n except in cross attention
 * @param mask float32 [B,n]: 1 for tokens, 0 for padding
 * @returns [B,m,H,E]; finite at padded positions, and in a text without any token
 * @throws LinnetError `SHAPE` for a mask of another shape, or a text longer than Linformer's projections; `CONFIG` for a
 *   mixer that has no such form; `TENSOR` for a missing parameter
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
    throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads the past alone and has no form for encoders`);
  }
  const attention = kind.bidirectional(config, input);
  const whole = groupingOf(input, Number.POSITIVE_INFINITY);
  const read = kind.convolvesPadding?.(config) === true ? positions.v : input.v;
  const filtered = centredConvolution(convolutionOf(config), whole, read, parameters);
  if (attention !== undefined) return filtered === undefined ? attention : add(attention, filtered);
  if (filtered !== undefined) return filtered;
  throw new LinnetError('INTERNAL', 'internal: a mixer without branches');
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
 * The cross-attention form; the two texts have positions of their own.
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

/** A mixer's form for cross attention: without its convolution, and of a grouped one the global branch alone. */
export function betweenTexts(config: MixerConfig): MixerConfig {
  const own = kindOf(config).betweenTexts?.(config);
  if (own !== undefined) return parseMixer(own);
  return convolutionOf(config) === null ? config : parseMixer({ ...config, convolution: null });
}

/**
 * Reads another text: q [B,m,H,D], k [B,n,M,D] and v [B,n,M,E] with their mask [B,n].
 * @returns [B,m,H,E]
 * @throws LinnetError as `crossForm` and `mixBidirectional`
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
 * The reference of a mixer: one sequence, or one tree of positions, in float64.
 * @returns [H,n,E]
 * @throws LinnetError `SHAPE` or `INPUT` as `ReferencePositions`, `CONFIG` for a mixer that cannot read another text
 */
export function mixReference(config: MixerConfig, input: ReferenceInput): Float64Array {
  return kindOf(config).reference(config, referencePositions(config, input));
}

/** The checked positions of a reference. @throws LinnetError as `mixReference` */
export function referencePositions(config: MixerConfig, input: ReferenceInput): ReferencePositions {
  const { length, keyLength = length } = input.dims;
  const positions = new ReferencePositions(input, {
    parameters: mixerParameters(config, input.dims),
    convolution: convolutionOf(config),
  });
  if (keyLength !== length) crossForm(config);
  return positions;
}
