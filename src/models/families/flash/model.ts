/**
 * FLASH (Hua et al., arXiv 2202.10447), trained from scratch in the paper: token embeddings and scaled sinusoidal
 * positions, gated attention units, LayerNorm and an untied head. Parameters have the reference code's names.
 */
import type { MixerConfig } from '../../../attention/mixer.ts';
import { unitParallel } from '../../../attention/kinds/gau/parallel.ts';
import { scaledScoring } from '../../../attention/scoring.ts';
import type { Value } from '../../../graph/graph.ts';
import { add, mul, silu } from '../../../graph/ops/elementwise.ts';
import { type Tensor, tensor } from '../../../graph/tensor.ts';
import { biasedLinear, embedding, namedLayerNorm } from '../../../nn/linear.ts';
import {
  type DeclaredParameters,
  type InitialValues,
  ParameterList,
  type ParameterSource,
  scoped,
} from '../../../nn/parameters.ts';
import { type PositionEncoding, type PositionValues, rotaryPositions } from '../../../nn/positions.ts';
import { configError, idList, everyLayer, withSection } from '../../config-fields.ts';
import type { CausalModel, LayerMixing } from '../../model.ts';
import { causalModel } from '../family.ts';
import { constantPositions, mixerParameterValues, parallelMixing } from '../../graphs/parallel-graph.ts';
import { type FlashConfig, flashValueWidth, nativeMixer, parseFlashConfig, unitMixer, unitMixers } from './config.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { gauBiasTable, offsetScaleRows, unitRows } from '../../../attention/kinds/gau/config.ts';
import { filterName } from '../../../attention/convolution-config.ts';
import { broadcastTo } from '../../../graph/ops/contraction.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { rotary } from '../../../graph/ops/rotary.ts';
import { declareMixer } from '../../mixer-parameters.ts';

// FLASH's gated attention unit around the mixer. Norm, token shift, projections, offset-scale and rotary embedding on the
// way in; gate, projection and residual on the way out.

/** Most features of queries and keys that rotary embedding rotates. */
const rotaryLimit = 32;
const layerNormEpsilon = 1e-5;

/** Number of features that rotary embedding rotates. */
function rotaryWidth({ query_key_dim }: FlashConfig): number {
  return Math.min(rotaryLimit, query_key_dim);
}

/** Mixer parameters that the reference draws; others start at the mixer's own initial values. */
const drawnMixerParameters: Readonly<Record<string, (shape: readonly number[]) => InitialValues>> = {
  [filterName]: ([, , kernel]) => ({ uniformOfInputs: kernel }),
  [gauBiasTable]: () => ({ normal: 1 }),
};

/**
 * One unit's parameters, including the mixer's, without the layer's prefix. Fresh ones are drawn as in the reference code:
 * PyTorch's defaults, and γ from N(0, 0.02).
 */
function unitParameters(config: FlashConfig, mixer: MixerConfig): DeclaredParameters {
  const { dim: D, query_key_dim: S, norm } = config;
  const E = flashValueWidth(config);
  const rows = offsetScaleRows(mixer);
  const list = new ParameterList();
  if (norm === 'scalenorm') list.add('norm', 'norm.g', [1]);
  else list.layerNorm('norm', D);
  list.linear('matrix', 'to_hidden.0', D, 2 * E, { initial: { uniformOfInputs: D } });
  list.linear('query-key matrix', 'to_qk.0', D, S, { initial: { uniformOfInputs: D } });
  list.add('query-key scale', 'qk_offset_scale.gamma', [rows, S], { normal: 0.02 });
  list.add('query-key scale', 'qk_offset_scale.beta', [rows, S], { constant: 0 });
  for (const [name, parameter] of declareMixer(mixer, { heads: 1, keyValueHeads: 1, headWidth: S, valueWidth: E })) {
    const drawn = Object.hasOwn(drawnMixerParameters, name) ? drawnMixerParameters[name] : undefined;
    list.add(parameter.role, name, parameter.shape, drawn?.(parameter.shape));
  }
  list.linear('residual output', 'to_out', E, D, { initial: { uniformOfInputs: E } });
  return list.all;
}

/**
 * ScaleNorm is RMS norm with one gain for all features. The reference bounds the root mean square below by 1e-5; here its
 * square goes under the root, which differs only for almost-zero rows.
 */
function normalized({ norm, dim }: FlashConfig, source: ParameterSource, x: Value): Value {
  if (norm === 'layernorm') return namedLayerNorm(source, 'norm', x, layerNormEpsilon);
  return rmsNorm(x, broadcastTo(source.parameter('norm.g', [1]), [dim]), 1e-10);
}

/** Interleaved rotary embedding of the first features; the others carry no position. */
function partialRotary(x: Value, width: number, cos: Value, sin: Value): Value {
  const rest = Number(x.shape[3]) - width;
  if (rest === 0) return rotary(x, cos, sin, { interleaved: true });
  const [turning, still] = split(x, 3, [width, rest]);
  return concat([rotary(turning, cos, sin, { interleaved: true }), still], 3);
}

/** Frequency base of both sinusoids and rotary embedding. */
const frequencyBase = 10000;

/**
 * The model of a config.json.
 * @throws LinnetError `CONFIG` like `parseFlashConfig`, and for `causal` false, which `flashLogits` computes
 */
export function flashModel(json: JsonObject): CausalModel {
  const config = parseFlashConfig(json);
  if (!config.causal)
    throw configError('FLASH', ['causal is false: only models that predict the next token are opened']);
  return describe(config, json);
}

function describe(config: FlashConfig, json: JsonObject): CausalModel {
  const mixers = unitMixers(config);
  const parameters = flashParameters(config);
  return causalModel({
    family: 'flash',
    className: 'Flash',
    sizes: {
      layers: config.depth,
      width: config.dim,
      heads: 1,
      keyValueHeads: 1,
      headWidth: config.query_key_dim,
      valueWidth: flashValueWidth(config),
      shiftWidth: config.shift_tokens ? config.dim / 2 : 0,
      vocabulary: config.vocab_size,
      trainedLength: config.trained_length,
    },
    mixers,
    positions: flashPositions(config),
    parameters,
    bosId: config.bos_token_id ?? undefined,
    eosIds: idList(config.eos_token_id),
    unknownFields: config.unknownFields,
    toJson: () => withSection(json, mixers, everyLayer(config.depth, nativeMixer(config))),
    withMixers: (others) =>
      flashModel({ ...json, linnet: { version: 1, mixers: others.map((mixer) => unitMixer(config, mixer)) } }),
    embed: (source, tokens, { sinusoids }) =>
      add(
        embedding(source, 'token_emb', tokens, config.vocab_size, config.dim),
        mul(sinusoids, source.parameter('abs_pos_emb.scale', [1])),
      ),
    layer: (source, layer, hidden, positions, mixing) =>
      unit(config, mixers[layer], source, layer, hidden, positions, mixing),
    finalNorm: (source, hidden) => namedLayerNorm(source, 'to_logits.0', hidden, layerNormEpsilon),
    head: (source, hidden) => biasedLinear(source, 'to_logits.1', hidden, config.vocab_size),
    attentionPrefix,
    parameterName: flashParameterName,
    fitParameter: (name, value) => fitOffsetScale(parameters, name, value),
  });
}

function attentionPrefix(layer: number): string {
  return `layers.${layer}`;
}

/** All parameters. Linear weights are [outputs, inputs]. */
export function flashParameters(config: FlashConfig): DeclaredParameters {
  const { vocab_size: V, dim: D } = config;
  const list = new ParameterList();
  list.add('embedding', 'token_emb.weight', [V, D], { normal: 1 });
  list.add('scale', 'abs_pos_emb.scale', [1]);
  unitMixers(config).forEach((mixer, layer) => {
    list.addAll(attentionPrefix(layer), unitParameters(config, mixer));
  });
  list.layerNorm('to_logits.0', D);
  list.linear('head', 'to_logits.1', D, V, { initial: { uniformOfInputs: D } });
  return list.all;
}

/** The parameter in a stored tensor; undefined for frequency tables, which follow from the configuration. */
export function flashParameterName(stored: string): string | undefined {
  return /(^|\.)(abs_pos_emb\.inv_freq|rotary_pos_emb\.freqs)$/.test(stored) ? undefined : stored;
}

/** Sinusoids [B,T,D] (all sines, then all cosines) and rotary angles for positions, however far out. */
export function flashPositions(config: FlashConfig): PositionEncoding {
  const { dim } = config;
  const angles = rotaryPositions({ width: rotaryWidth(config), base: frequencyBase });
  const waves = rotaryPositions({ width: dim, base: frequencyBase });
  return {
    values: { sinusoids: { dtype: 'float32', shape: [dim] }, ...angles.values },
    limit: Number.POSITIVE_INFINITY,
    at(positions, batch, length) {
      const { cos, sin } = waves.at(positions, batch, length);
      const half = dim / 2;
      const sinusoids = new Float32Array(batch * length * dim);
      for (let i = 0; i < batch * length * half; i++) {
        const place = Math.floor(i / half) * dim + (i % half);
        sinusoids[place] = Number(sin.data[i]);
        sinusoids[place + half] = Number(cos.data[i]);
      }
      return {
        sinusoids: tensor('float32', [batch, length, dim], sinusoids),
        ...angles.at(positions, batch, length),
      };
    },
  };
}

/** A unit with its residual: x [B,n,D] → [B,n,D]. */
function unit(
  config: FlashConfig,
  mixer: MixerConfig,
  source: ParameterSource,
  layer: number,
  x: Value,
  { cos, sin }: PositionValues,
  { mix, shift }: Pick<LayerMixing, 'mix' | 'shift'>,
): Value {
  const { dim: D, query_key_dim: S, shift_tokens } = config;
  const own = scoped(source, attentionPrefix(layer));
  const E = flashValueWidth(config);
  const [B, n] = x.shape;
  let u = normalized(config, own, x);
  if (shift_tokens) {
    const [delayed, kept] = split(u, 2, [D / 2, D / 2]);
    u = concat([shift(layer, delayed), kept], 2);
  }
  const [v, gate] = split(silu(biasedLinear(own, 'to_hidden.0', u, 2 * E)), 2, [E, E]);
  const shared = reshape(silu(biasedLinear(own, 'to_qk.0', u, S)), [B, n, 1, S]);
  const count = offsetScaleRows(mixer);
  const gamma = own.parameter('qk_offset_scale.gamma', [count, S]);
  const scaled = add(mul(shared, gamma), own.parameter('qk_offset_scale.beta', [count, S])); // [B,n,rows,S]
  const turned = partialRotary(scaled, rotaryWidth(config), cos, sin);
  const { queries, keys } = unitRows(mixer);
  const pick = ([first, end]: readonly [number, number]): Value =>
    reshape(slice(turned, 2, first, end), [B, n, 1, (end - first) * S]);
  const projected = { q: pick(queries), k: pick(keys), v: reshape(v, [B, n, 1, E]) };
  const mixed = reshape(mix(layer, projected), gate.shape);
  return add(biasedLinear(own, 'to_out', mul(gate, mixed), D), x);
}

/**
 * FLASH's own attention over whole sequences, causal or (for encoders) bidirectional.
 *
 * @param tokens int32 [B,n] of static shape
 * @param keyMask float32 [B,n], 0 for padding; causal models need none if padding is at the end
 * @returns logits [B,n,V]
 */
export function flashLogits(config: FlashConfig, source: ParameterSource, tokens: Value, keyMask?: Value): Value {
  const { causal, reduce_groups: reduceGroups } = config;
  const model = describe({ ...config, linnet: undefined }, {});
  const native = nativeMixer(config);
  const [B, n] = tokens.shape.map(Number);
  const mixing = parallelMixing((layer, projected) => {
    const parameters = mixerParameterValues(model, source, layer);
    const input = { ...projected, parameters, scoring: scaledScoring(config.query_key_dim) };
    return unitParallel(native, input, { causal, reduceGroups, keyMask });
  });
  const hidden = model.backbone(source, tokens, constantPositions(model, source.graph, B, n), mixing);
  return model.head(source, hidden);
}

/** γ and β have two or four rows, as the mixer needs: four start with equal q and equal k rows, two keep the local ones. */
function fitOffsetScale(declared: DeclaredParameters, name: string, value: Tensor<'float32'>): Tensor<'float32'> {
  const parameter = declared.get(name);
  if (parameter?.role !== 'query-key scale') return value;
  const { shape } = parameter;
  const [rows, S] = shape;
  if (rows === value.shape[0]) return value;
  const from = rows === 4 ? [0, 0, 1, 1] : [0, 2];
  const data = new Float32Array(rows * S);
  from.forEach((row, place) => {
    data.set(value.data.subarray(row * S, (row + 1) * S), place * S);
  });
  return tensor('float32', shape, data);
}
