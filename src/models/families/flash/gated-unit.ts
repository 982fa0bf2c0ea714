/**
 * FLASH's gated attention unit around the mixing of positions. Norm, token shift, projections, offset-scale and rotary
 * embedding on the way in; gate, projection and residual on the way out.
 */
import type { MixerConfig, ProjectedPositions } from '../../../attention/mixer.ts';
import { gauBiasTable, offsetScaleRows, unitRows } from '../../../attention/kinds/gau/config.ts';
import { filterName } from '../../../attention/convolution-config.ts';
import type { Value } from '../../../graph/graph.ts';
import { broadcastTo } from '../../../graph/ops/contraction.ts';
import { add, mul, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { rotary } from '../../../graph/ops/rotary.ts';
import { biasedLinear, namedLayerNorm } from '../../../nn/linear.ts';
import { type DeclaredParameters, type InitialValues, ParameterList } from '../../../nn/parameter-roles.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import type { PositionValues } from '../../../nn/positions.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import { type FlashConfig, flashValueWidth } from './config.ts';

/** Features of queries and keys that rotary embedding turns, at most. */
const rotaryLimit = 32;
const layerNormEpsilon = 1e-5;

/** How many features rotary embedding turns. */
export function rotaryWidth({ query_key_dim }: FlashConfig): number {
  return Math.min(rotaryLimit, query_key_dim);
}

/** A unit's projected positions before mixing, and the gate [B,n,E] of the result. */
export interface UnitPositions {
  readonly projected: ProjectedPositions;
  readonly gate: Value;
}

/** Parameters of mixers that the reference draws, where others start at the mixer's own initial values. */
const drawnMixerParameters: Readonly<Record<string, (shape: readonly number[]) => InitialValues>> = {
  [filterName]: ([, , kernel]) => ({ uniformOfInputs: kernel }),
  [gauBiasTable]: () => ({ normal: 1 }),
};

/**
 * One unit's parameters, the mixer's included, without the prefix of the layer. Fresh ones are drawn as in the reference
 * code: PyTorch's defaults, and γ from N(0, 0.02).
 */
export function unitParameters(config: FlashConfig, mixer: MixerConfig): DeclaredParameters {
  const { dim: D, query_key_dim: S, norm } = config;
  const E = flashValueWidth(config);
  const rows = offsetScaleRows(mixer);
  const list = new ParameterList();
  if (norm === 'scalenorm') list.add('norm', 'norm.g', [1]);
  else list.layerNorm('norm', D);
  list.add('matrix', 'to_hidden.0.weight', [2 * E, D], { uniformOfInputs: D });
  list.add('bias', 'to_hidden.0.bias', [2 * E], { uniformOfInputs: D });
  list.add('query-key matrix', 'to_qk.0.weight', [S, D], { uniformOfInputs: D });
  list.add('query-key bias', 'to_qk.0.bias', [S], { uniformOfInputs: D });
  list.add('query-key scale', 'qk_offset_scale.gamma', [rows, S], { normal: 0.02 });
  list.add('query-key scale', 'qk_offset_scale.beta', [rows, S], { constant: 0 });
  for (const [name, parameter] of declareMixer(mixer, { heads: 1, keyValueHeads: 1, headWidth: S, valueWidth: E })) {
    const drawn = Object.hasOwn(drawnMixerParameters, name) ? drawnMixerParameters[name] : undefined;
    list.add(parameter.role, name, parameter.shape, drawn?.(parameter.shape));
  }
  list.add('residual output', 'to_out.weight', [D, E], { uniformOfInputs: E });
  list.add('bias', 'to_out.bias', [D], { uniformOfInputs: E });
  return list.all;
}

/**
 * From the residual stream to queries, keys and values of one head.
 *
 * @param x [B,n,D]
 * @param shift delays features [B,n,D/2] by a token; only used where the configuration shifts tokens
 */
export function projectUnit(
  config: FlashConfig,
  mixer: MixerConfig,
  source: ParameterSource,
  x: Value,
  { cos, sin }: PositionValues,
  shift: (half: Value) => Value,
): UnitPositions {
  const { dim: D, query_key_dim: S, shift_tokens } = config;
  const E = flashValueWidth(config);
  const [B, n] = x.shape;
  let u = normalized(config, source, x);
  if (shift_tokens) {
    const [delayed, kept] = split(u, 2, [D / 2, D / 2]);
    u = concat([shift(delayed), kept], 2);
  }
  const [v, gate] = split(silu(biasedLinear(source, 'to_hidden.0', u, 2 * E)), 2, [E, E]);
  const shared = reshape(silu(biasedLinear(source, 'to_qk.0', u, S)), [B, n, 1, S]);
  const count = offsetScaleRows(mixer);
  const gamma = source.parameter('qk_offset_scale.gamma', [count, S]);
  const scaled = add(mul(shared, gamma), source.parameter('qk_offset_scale.beta', [count, S])); // [B,n,rows,S]
  const turned = partialRotary(scaled, rotaryWidth(config), cos, sin);
  const { queries, keys } = unitRows(mixer);
  const pick = ([first, end]: readonly [number, number]): Value =>
    reshape(slice(turned, 2, first, end), [B, n, 1, (end - first) * S]);
  return { projected: { q: pick(queries), k: pick(keys), v: reshape(v, [B, n, 1, E]) }, gate };
}

/** Back into the residual stream: x + W(gate · mixed) + b. `mixed` is [B,n,1,E]. */
export function closeUnit(config: FlashConfig, source: ParameterSource, x: Value, gate: Value, mixed: Value): Value {
  return add(biasedLinear(source, 'to_out', mul(gate, reshape(mixed, gate.shape)), config.dim), x);
}

/** FLASH's layer norm. */
export function flashLayerNorm(source: ParameterSource, name: string, x: Value): Value {
  return namedLayerNorm(source, name, x, layerNormEpsilon);
}

/**
 * ScaleNorm is RMS norm with one gain for all features. The reference bounds the root mean square below by 1e-5; here
 * its square goes under the root, which differs only for rows that are all but zero.
 */
function normalized({ norm, dim }: FlashConfig, source: ParameterSource, x: Value): Value {
  if (norm === 'layernorm') return flashLayerNorm(source, 'norm', x);
  return rmsNorm(x, broadcastTo(source.parameter('norm.g', [1]), [dim]), 1e-10);
}

/** Interleaved rotary embedding of the first features; the others do not know positions. */
function partialRotary(x: Value, width: number, cos: Value, sin: Value): Value {
  const rest = Number(x.shape[3]) - width;
  if (rest === 0) return rotary(x, cos, sin, { interleaved: true });
  const [turning, still] = split(x, 3, [width, rest]);
  return concat([rotary(turning, cos, sin, { interleaved: true }), still], 3);
}
