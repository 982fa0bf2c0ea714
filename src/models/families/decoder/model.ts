/**
 * The decoder of LLaMA (Touvron et al., arXiv 2302.13971) and its relatives: pre-norm blocks of rotary attention and a
 * SwiGLU feed-forward, RMS norm throughout. A variant may add biases on queries, keys and values, norms on queries and
 * keys, and norms on the outputs of attention and feed-forward, besides or instead of their input norms.
 */
import type { z } from 'zod';
import type { ProjectedPositions } from '../../../attention/mixer.ts';
import { growsWithText, horizonOf, isExchangeable } from '../../../attention/mixers.ts';
import type { Value } from '../../../graph/graph.ts';
import { add, mul, sigmoid, tanh } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split, transpose } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { rotary, rotaryHeads } from '../../../graph/ops/rotary.ts';
import { biasedLinear, embedding, joinedLinear, linear, inHeads } from '../../../nn/linear.ts';
import { type ParameterSource, scoped } from '../../../nn/parameters.ts';
import {
  mergedPositions,
  partOf,
  type PositionEncoding,
  type PositionValues,
  rotaryPositions,
} from '../../../nn/positions.ts';
import { withSection } from '../../config-fields.ts';
import type { CausalModel, LayerMixing, MtpLayer, MixedRows } from '../../model.ts';
import { causalModel, sizesOf } from '../family.ts';
import {
  type DecoderChanges,
  type DecoderConfig,
  type DecoderSchema,
  type DecoderVariant,
  parseDecoderConfig,
  times,
} from './config.ts';
import {
  attentionPrefix,
  blockPrefix,
  decoderParameterName,
  decoderParameters,
  embeddingName,
  mtpConfig,
  mtpNames,
  mtpParameters,
  namesInLayer,
} from './parameters.ts';
import type { Rope } from './rope.ts';
import type { JsonObject } from '../../../files/json-object.ts';

type ReadModel = (json: JsonObject) => CausalModel;

/**
 * A function from a family's config.json to its model, which throws a LinnetError `CONFIG` naming every unusable or unknown
 * field. Takes the parameters of `parseDecoderConfig`.
 */
export function decoderFamily<Schema extends DecoderSchema>(
  variant: DecoderVariant,
  schema: Schema,
  harmless?: readonly string[],
  own?: (config: z.infer<Schema>) => DecoderChanges,
): ReadModel {
  const read: ReadModel = (json) => decoderModel(parseDecoderConfig(variant, schema, json, harmless, own), read);
  return read;
}

/** A checked configuration's model. @param read reads another configuration of the same family */
export function decoderModel(config: DecoderConfig, read: ReadModel): CausalModel {
  const pieces = piecesOf(config, read);
  if (config.hasMtp === undefined) return causalModel(pieces);
  const mtp = config.hasMtp ? mtpLayer(config, read) : undefined;
  return causalModel({
    ...pieces,
    mtp,
    optionalParameters: mtp?.parameters,
    parameterName: (stored) =>
      stored.startsWith('mtp.') && mtp?.parameters.has(stored) !== true ? undefined : pieces.parameterName(stored),
  });
}

/** x = fc [norm of the embedding, norm of the previous hidden state], then a layer, a norm and the model's head. */
function mtpLayer(config: DecoderConfig, read: ReadModel): MtpLayer {
  const own = mtpConfig(config);
  const parameters = mtpParameters(own);
  const { width } = config;
  return {
    parameters,
    model: (before) =>
      causalModel({
        ...piecesOf(own, read),
        parameters,
        embed(source, tokens) {
          const embedded = norm(own, source, mtpNames.embeddingNorm, embed(config, source, tokens));
          const hidden = norm(own, source, mtpNames.hiddenNorm, before(source, tokens));
          return linear(source, mtpNames.joined, concat([embedded, hidden], 2), width);
        },
        head: (source, hidden) => head(config, source, hidden),
      }),
  };
}

function piecesOf(config: DecoderConfig, read: ReadModel): Parameters<typeof causalModel>[0] {
  return {
    family: config.variant.family,
    className: config.variant.className,
    sizes: sizesOf(config),
    mixers: config.mixers,
    localLayers: localLayers(config),
    positions: mergedPositions(distinctRopes(config).map((rope) => rotaryTables(config, rope))),
    scoreScale: config.scoreScale,
    parameters: decoderParameters(config),
    bosId: config.bosId,
    eosIds: config.eosIds,
    unknownFields: config.unknownFields,
    toJson: () => withSection(config.raw, config.mixers, config.natives),
    withMixers: (mixers) => read({ ...config.raw, linnet: { version: 1, mixers } }),
    embed: (source, tokens) => embed(config, source, tokens),
    layer: (source, layer, hidden, positions, mixing) => block(config, source, layer, hidden, positions, mixing),
    finalNorm: (source, hidden) => norm(config, source, config.variant.names.finalNorm, hidden),
    head: (source, hidden) => head(config, source, hidden),
    attentionPrefix: (layer) => attentionPrefix(config, layer),
    parameterName: (stored) => decoderParameterName(config, stored),
  };
}

/** The family's own windows, if others attend to the whole past. */
function localLayers({ natives }: DecoderConfig): number[] {
  const attentions = natives.flatMap((native, layer) => (isExchangeable(native) ? [layer] : []));
  const constant = attentions.filter((layer) => !growsWithText(natives[layer]));
  return constant.length === attentions.length ? [] : constant;
}

/** A step over more nodes would find sinks among them, which it reads with the queries' own rotation. */
const leastFarthest = 1024;

function distinctRopes({ ropes }: DecoderConfig): readonly Rope[] {
  return [...new Set(ropes)].filter((rope) => rope !== null);
}

/** Sinks are read from any distance; no query rotates farther than the model was trained for or its windows reach. */
function rotaryTables({ headWidth, trainedLength, mixers, ropes }: DecoderConfig, rope: Rope): PositionEncoding {
  const horizons = mixers
    .filter((_, layer) => ropes[layer] === rope)
    .map((mixer) => horizonOf(mixer))
    .filter(({ sinks = 0 }) => sinks > 0);
  const windows = horizons.map(({ group, window = 1 }) => window * group);
  return rotaryPositions({
    width: headWidth,
    ...rope,
    farthest: horizons.length === 0 ? undefined : Math.max(trainedLength, leastFarthest, ...windows) - 1,
  });
}

function embed(config: DecoderConfig, source: ParameterSource, tokens: Value): Value {
  return times(
    embedding(source, embeddingName(config), tokens, config.vocabulary, config.width),
    config.embeddingScale,
  );
}

/** @param x [...,D] */
function norm({ normEpsilon, variant }: DecoderConfig, source: ParameterSource, name: string, x: Value): Value {
  const stored = source.parameter(`${name}.weight`, [Number(x.shape[x.rank - 1])]);
  return rmsNorm(x, variant.zeroCentredNorms ? add(stored, 1) : stored, normEpsilon);
}

function block(
  config: DecoderConfig,
  source: ParameterSource,
  layer: number,
  x: Value,
  positions: PositionValues,
  { mix: mixLayer, rows = everyRow }: LayerMixing,
): Value {
  const { ownLayer } = config.variant;
  const rope = config.ropes[layer];
  // A layer without rotation has none.
  const angles = rope === null ? {} : partOf(positions, distinctRopes(config).indexOf(rope));
  const names = namesInLayer(config, layer);
  const prefix = blockPrefix(config, layer);
  const normed = (value: Value, name: string | null | undefined): Value =>
    name ? norm(config, source, `${prefix}.${name}`, value) : value;
  const read = normed(x, names.attentionNorm);
  const mixed = (index: number): Value => {
    const own = scoped(source, attentionPrefix(config, index));
    const mix = (projected: ProjectedPositions): Value => mixLayer(index, projected);
    const mixer = config.mixers[index];
    return ownLayer === undefined || isExchangeable(mixer)
      ? attention(config, own, read, angles, mix, rows)
      : ownLayer.mixed(config, own, read, mixer, mix, rows);
  };
  const beside = config.layers + layer;
  const all = beside < config.mixers.length ? add(mixed(layer), mixed(beside)) : mixed(layer);
  const added = (value: Value, name?: string): Value => times(normed(value, name), config.residualScale);
  const attended = add(x, added(all, names.attentionOutputNorm));
  const fed = feedForward(config, scoped(source, prefix), normed(attended, names.feedForwardNorm));
  return add(attended, added(fed, names.feedForwardOutputNorm));
}

function attention(
  config: DecoderConfig,
  source: ParameterSource,
  x: Value,
  allAngles: Partial<PositionValues>,
  mix: (positions: ProjectedPositions) => Value,
  { enter, leave }: MixedRows,
): Value {
  const { width, heads, headWidth } = config;
  const { names, outputBias } = config.variant;
  const [input, keys, output] = config.attentionScales ?? [];
  const read = times(x, input);
  const angles = Object.fromEntries(Object.entries(allAngles).map(([name, of]) => [name, of && enter(of)]));
  const { gate, k, ...positions } =
    joinedPositions(config, source, read, angles, enter) ?? projectedPositions(config, source, read, angles, enter);
  const [B, T] = k.shape;
  const mixed = reshape(mix({ ...positions, k: times(k, keys) }), [B, T, heads * headWidth]);
  const layer = outputBias ? biasedLinear : linear;
  const gated = gate ? mul(mixed, sigmoid(gate)) : mixed;
  return times(layer(source, names.output, leave(gated), width), output);
}

const everyRow: MixedRows = { enter: (products) => products, leave: (mixed) => mixed };

/** Queries, keys and values, and the output's gate [B,T,H·D] if a variant has one. */
interface Projections extends ProjectedPositions {
  readonly gate?: Value;
}

/** Splits q_proj's result into queries [B,T,H·D] and their gates. */
function queriesAndGate(
  { heads: H, headWidth: D, variant }: DecoderConfig,
  product: Value,
): readonly [queries: Value, gate?: Value] {
  if (!variant.outputGate) return [product];
  const [B, T] = product.shape;
  const parts = split(reshape(product, [B, T, H, 2 * D]), 3, [D, D]);
  const [queries, gate] = parts.map((part) => reshape(part, [B, T, H * D]));
  return [queries, gate];
}

function projectedPositions(
  config: DecoderConfig,
  source: ParameterSource,
  x: Value,
  { cos, sin, farCos, farSin }: Partial<PositionValues>,
  enter: MixedRows['enter'],
): Projections {
  const { heads, keyValueHeads, headWidth } = config;
  const { queryKeyValueBias, queryKeyNorm, joinedQueryKeyNorm, outputGate, names } = config.variant;
  const layer = queryKeyValueBias ? biasedLinear : linear;
  const joined = (name: string, count: number): Value => enter(layer(source, name, x, count * headWidth)); // [B,T,H·D]
  const normed = (given: Value, name: string, count: number): Value => {
    const all = inHeads(joinedQueryKeyNorm ? norm(config, source, name, given) : given, count); // [B,T,H,D]
    return queryKeyNorm ? norm(config, source, name, all) : all;
  };
  const [queries, gate] = queriesAndGate(config, joined('q_proj', (outputGate ? 2 : 1) * heads));
  const q = normed(queries, names.queryNorm, heads);
  return {
    gate,
    q: turned(rotary, q, cos, sin),
    far: farCos && turned(rotary, q, farCos, farSin),
    k: turned(rotary, normed(joined('k_proj', keyValueHeads), names.keyNorm, keyValueHeads), cos, sin),
    v: inHeads(joined('v_proj', keyValueHeads), keyValueHeads),
  };
}

/** The same from one product, heads first; undefined if the source makes separate ones. */
function joinedPositions(
  config: DecoderConfig,
  source: ParameterSource,
  x: Value,
  { cos, sin, farCos, farSin }: Partial<PositionValues>,
  enter: MixedRows['enter'],
): Projections | undefined {
  const { heads: H, keyValueHeads: M, headWidth: D } = config;
  const { queryKeyValueBias, queryKeyNorm, joinedQueryKeyNorm, outputGate } = config.variant;
  const { queryNorm, keyNorm } = config.variant.names;
  const outputs = { q_proj: (outputGate ? 2 : 1) * H * D, k_proj: M * D, v_proj: M * D };
  const all = joinedLinear(source, x, outputs, queryKeyValueBias);
  if (all === undefined) return undefined;
  let product = enter(all);
  const [B, T] = product.shape;
  let gate: Value | undefined;
  if (outputGate) {
    const [given, others] = split(product, 2, [outputs.q_proj, 2 * M * D]);
    const [queries, own] = queriesAndGate(config, given);
    product = concat([queries, others], 2);
    gate = own;
  }
  if (joinedQueryKeyNorm) {
    const [queries, keys, values] = split(product, 2, [H * D, M * D, M * D]);
    const normal = [norm(config, source, queryNorm, queries), norm(config, source, keyNorm, keys)];
    product = concat([...normal, values], 2);
  }
  const heads = swapHeads(reshape(product, [B, T, H + 2 * M, D])); // [B,H+2M,T,D]
  const [qk, v] = split(heads, 1, [H + M, M]);
  let [q, k] = split(qk, 1, [H, M]);
  if (queryKeyNorm) q = norm(config, source, queryNorm, q);
  const far = farCos && turned(rotaryHeads, q, farCos, farSin);
  if (queryKeyNorm) {
    q = turned(rotaryHeads, q, cos, sin);
    k = turned(rotaryHeads, norm(config, source, keyNorm, k), cos, sin);
  } else {
    [q, k] = split(turned(rotaryHeads, qk, cos, sin), 1, [H, M]);
  }
  return { gate, q: swapHeads(q), far: far && swapHeads(far), k: swapHeads(k), v: swapHeads(v) };
}

/** Rotates queries or keys by their layer's angles, if any. */
function turned(turn: typeof rotaryHeads, x: Value, cos: Value | undefined, sin: Value | undefined): Value {
  return cos && sin ? turn(x, cos, sin) : x;
}

/** [B,T,H,D] ↔ [B,H,T,D] */
function swapHeads(x: Value): Value {
  return transpose(x, [0, 2, 1, 3]);
}

/** Gated: down(silu(gate x) · up x), or with another activation. */
function feedForward(config: DecoderConfig, source: ParameterSource, x: Value): Value {
  const { width, feedForwardWidth: F, variant, feedForwardScales: [ofGate, ofOutput] = [] } = config;
  const { activation, feedForwardBias } = variant;
  const { gate: first, up: second, down } = variant.names;
  const layer = feedForwardBias ? biasedLinear : linear;
  const both =
    second === null
      ? layer(source, first, x, 2 * F)
      : joinedLinear(source, x, { [first]: F, [second]: F }, feedForwardBias);
  const [gate, up] =
    both === undefined ? [first, second ?? first].map((name) => layer(source, name, x, F)) : split(both, 2, [F, F]);
  return times(layer(source, down, mul(activation(times(gate, ofGate)), up), width), ofOutput);
}

function head(config: DecoderConfig, source: ParameterSource, hidden: Value): Value {
  const { tiedHead, vocabulary, logitScale, logitCap: cap } = config;
  const given = linear(source, tiedHead ? embeddingName(config) : 'lm_head', hidden, vocabulary);
  const logits = times(given, logitScale);
  return cap === undefined ? logits : mul(tanh(mul(logits, 1 / cap)), cap);
}
