/**
 * A bare mixer, dressed as a model: one layer, no residual stream, and a table of random query, key and value rows, one per
 * token. So everything that runs models (the parallel graph, the decoding engine with its masks, ring, commit and folding)
 * runs the mixer alone, on rows that the reference can also take.
 */
import type { HeadCounts, MixerConfig } from '../../attention/mixer.ts';
import { mixerDims, mixerParameters, rowWidth } from '../../attention/mixers.ts';
import type { ReferenceInput } from '../../attention/reference.ts';
import { internalError, LinnetError } from '../../errors.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/contraction.ts';
import { tensor, type Tensor, type WeightMap, type Weights } from '../../graph/tensor.ts';
import { declareMixer } from '../../models/mixer-parameters.ts';
import { type CausalModel, type ModelDescription, valueWidth } from '../../models/model.ts';
import { embedding } from '../../nn/linear.ts';
import { drawValues, ParameterList } from '../../nn/parameters.ts';
import { noPositions } from '../../nn/positions.ts';
import type { Random } from '../../random.ts';

export interface ProbeSizes extends HeadCounts {
  /** D. */
  readonly headWidth: number;
  /** E, default D. */
  readonly valueWidth?: number;
  /** V: rows of the tables. */
  readonly vocabulary: number;
}

const prefix = 'mixer';

/** The model whose hidden states are the mixer's outputs, [B,T,H·E]. Positions do not rotate its rows. */
export function mixerProbe(mixer: MixerConfig, sizes: ProbeSizes): CausalModel {
  const { heads: H, keyValueHeads: M, headWidth, valueWidth: E = headWidth, vocabulary: V } = sizes;
  const D = rowWidth(mixer, headWidth);
  const list = new ParameterList();
  list.add('embedding', 'queries.weight', [V, H * D]);
  list.add('embedding', 'keys.weight', [V, M * D]);
  list.add('embedding', 'values.weight', [V, M * E]);
  list.add('head', 'head.weight', [V, H * E]);
  list.addAll(prefix, declareMixer(mixer, sizes));
  return {
    family: 'mixer probe',
    kind: 'causal',
    sizes: { ...sizes, shiftWidth: 0, layers: 1, width: H * E, trainedLength: V },
    mixers: [mixer],
    positions: noPositions,
    parameters: list.all,
    eosIds: [],
    toJson: () => ({ model_type: 'mixer probe', mixer, ...sizes }),
    withMixers: ([other = mixer]) => mixerProbe(other, sizes),
    attentionPrefix: () => prefix,
    parameterName: (stored) => stored,
    asClassifier: hasNone,
    embed: hasNone,
    layer: hasNone,
    backbone: (source, tokens, _positions, { mix }) => {
      const [B, T] = tokens.shape;
      const rows = (name: string, count: number, width: number) =>
        reshape(embedding(source, name, tokens, V, count * width), [B, T, count, width]);
      const mixed = mix(0, { q: rows('queries', H, D), k: rows('keys', M, D), v: rows('values', M, E) }); // [B,T,H,E]
      return reshape(mixed, [B, T, H * E]);
    },
    head: (source, hidden) => matmul(hidden, source.parameter('head.weight', [V, H * E]), { transposeB: true }), // [...,V]
  };
}

function hasNone(): never {
  throw internalError('a mixer on its own has no layers around it, and classifies nothing');
}

/** Standard normal tables and random mixer parameters. */
export function randomProbe(probe: CausalModel, random: Random): WeightMap {
  const mixerOwn = randomMixerParameters(probe, random);
  return new Map(
    [...probe.parameters].map(([name, { shape }]) => [name, mixerOwn.get(name) ?? normals(shape, random, 1)]),
  );
}

/**
 * Values for a model's learned mixer parameters that switch every branch on: α and λ between 0.5 and 1.5, taps and learned
 * maps normal. A freshly linearized model has α = 0 and zero filter weights, which could hide a leak.
 */
export function randomMixerParameters(model: ModelDescription, random: Random): WeightMap {
  const values: WeightMap = new Map();
  model.mixers.forEach((mixer, layer) => {
    for (const { name, shape } of mixerParameters(mixer, mixerDims(mixer, model.sizes))) {
      const value =
        name === 'local_factor' || name === 'global_factor'
          ? tensor('float32', shape, Float32Array.of(0.5 + random.uniform()))
          : normals(shape, random, 0.3);
      values.set(`${model.attentionPrefix(layer)}.${name}`, value);
    }
  });
  return values;
}

/** The probe's rows at a sequence (or tree) of tokens, in the reference's layout. */
export function referenceInput(
  probe: CausalModel,
  parameters: Weights,
  tokens: ArrayLike<number>,
  parents?: Int32Array,
): ReferenceInput {
  const { heads, keyValueHeads, headWidth } = probe.sizes;
  const D = rowWidth(probe.mixers[0], headWidth);
  const E = valueWidth(probe.sizes);
  const table = (name: string): Float32Array => {
    const found = parameters.get(name);
    if (found === undefined) throw new LinnetError('TENSOR', `the probe has no parameter "${name}"`);
    return found.data;
  };
  const own = mixerParameters(probe.mixers[0], probe.sizes).map(
    ({ name }) => [name, table(`${prefix}.${name}`)] as const,
  );
  return {
    dims: { heads, keyValueHeads, length: tokens.length, headWidth: D, valueWidth: E },
    q: headsOutermost(table('queries.weight'), tokens, heads, D),
    k: headsOutermost(table('keys.weight'), tokens, keyValueHeads, D),
    v: headsOutermost(table('values.weight'), tokens, keyValueHeads, E),
    parameters: Object.fromEntries(own.map(([name, values]) => [name, Float64Array.from(values)])),
    parents,
  };
}

/** Row `position` of the reference's output [H,n,E] as a hidden state [H·E]. */
export function hiddenOfReference(output: Float64Array, position: number, heads: number, E: number): Float64Array {
  const length = output.length / (heads * E);
  const hidden = new Float64Array(heads * E);
  for (let head = 0; head < heads; head++) {
    const start = (head * length + position) * E;
    hidden.set(output.subarray(start, start + E), head * E);
  }
  return hidden;
}

/** Rows of a table [V,heads·D], picked by tokens: [heads,n,D]. */
function headsOutermost(table: Float32Array, tokens: ArrayLike<number>, heads: number, D: number): Float64Array {
  const rows = new Float64Array(heads * tokens.length * D);
  for (let head = 0; head < heads; head++) {
    for (let position = 0; position < tokens.length; position++) {
      const start = (tokens[position] * heads + head) * D;
      rows.set(table.subarray(start, start + D), (head * tokens.length + position) * D);
    }
  }
  return rows;
}

function normals(shape: readonly number[], random: Random, deviation: number): Tensor<'float32'> {
  return tensor('float32', shape, drawValues({ normal: deviation }, shape, random));
}
