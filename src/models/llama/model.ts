/** LLaMA and LLaMA 2: pre-norm blocks of rotary attention and a SwiGLU feed-forward, RMS norm throughout. */
import type { ProjectedPositions } from '../../attention/mixer.ts';
import { horizonOf, mixerParameters } from '../../attention/mixers.ts';
import type { Value } from '../../graph/graph.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { rmsNorm } from '../../graph/ops/normalization.ts';
import { rotary } from '../../graph/ops/rotary.ts';
import { silu } from '../../graph/ops/unary.ts';
import { embedding, linear } from '../../nn/linear.ts';
import { type ParameterSource, scoped } from '../../nn/parameters.ts';
import type { PositionValues } from '../../nn/positions.ts';
import { RotaryTables } from '../../nn/rotary-positions.ts';
import { withSection } from '../linnet-section.ts';
import type { CausalModel, LayerMixing, LayerObserver } from '../model.ts';
import { type LlamaConfig, parseLlamaConfig } from './config.ts';

/** The model of a config.json. @throws LinnetError `CONFIG` as `parseLlamaConfig` does */
export function llamaModel(json: Readonly<Record<string, unknown>>): CausalModel {
  return describe(parseLlamaConfig(json));
}

function describe(config: LlamaConfig): CausalModel {
  return {
    family: 'llama',
    kind: 'causal',
    sizes: {
      layers: config.layers,
      width: config.width,
      heads: config.heads,
      keyValueHeads: config.keyValueHeads,
      headWidth: config.headWidth,
      vocabulary: config.vocabulary,
      trainedLength: config.trainedLength,
    },
    mixers: config.mixers,
    positions: rotaryTables(config),
    parameters: llamaParameters(config),
    bosId: config.bosId,
    eosIds: config.eosIds,
    toJson: () => withSection(config.raw, config.mixers),
    withMixers: (mixers) => llamaModel({ ...config.raw, linnet: { version: 1, mixers } }),
    trunk: (source, tokens, positions, mixing, afterLayer) =>
      trunk(config, source, tokens, positions, mixing, afterLayer),
    head: (source, hidden) => head(config, source, hidden),
    attentionPrefix,
    parameterName: (stored) => (isDerived(config, stored) ? undefined : stored),
  };
}

/** A step over more nodes than this would read sinks among them, which are read as they are. */
const leastFarthest = 1024;

/** Sinks are read from any distance; no query turns farther than the model was trained for, or than its windows reach. */
function rotaryTables({ headWidth, ropeBase, ropeScaling, trainedLength, mixers }: LlamaConfig): RotaryTables {
  const horizons = mixers.map((mixer) => horizonOf(mixer)).filter(({ sinks = 0 }) => sinks > 0);
  const windows = horizons.map(({ group, window = 1 }) => window * group);
  return new RotaryTables({
    ...{ width: headWidth, base: ropeBase, scaling: ropeScaling },
    farthest: horizons.length === 0 ? undefined : Math.max(trainedLength, leastFarthest, ...windows) - 1,
  });
}

function attentionPrefix(layer: number): string {
  return `model.layers.${layer}.self_attn`;
}

/** A tied head that is stored all the same is a copy of the embedding. */
function isDerived({ tiedHead }: LlamaConfig, stored: string): boolean {
  return stored.endsWith('.rotary_emb.inv_freq') || (tiedHead && stored === 'lm_head.weight');
}

/** Names and shapes of all parameters, as in a Hugging Face LLaMA checkpoint. Linear weights are [outputs, inputs]. */
function llamaParameters(config: LlamaConfig): Map<string, readonly number[]> {
  const { width, feedForwardWidth, heads, keyValueHeads, headWidth, vocabulary } = config;
  const shapes = new Map<string, readonly number[]>();
  shapes.set('model.embed_tokens.weight', [vocabulary, width]);
  config.mixers.forEach((mixer, layer) => {
    const block = `model.layers.${layer}`;
    const attention = attentionPrefix(layer);
    shapes.set(`${block}.input_layernorm.weight`, [width]);
    shapes.set(`${attention}.q_proj.weight`, [heads * headWidth, width]);
    shapes.set(`${attention}.k_proj.weight`, [keyValueHeads * headWidth, width]);
    shapes.set(`${attention}.v_proj.weight`, [keyValueHeads * headWidth, width]);
    shapes.set(`${attention}.o_proj.weight`, [width, heads * headWidth]);
    for (const parameter of mixerParameters(mixer, { heads, keyValueHeads, headWidth })) {
      shapes.set(`${attention}.${parameter.name}`, parameter.shape);
    }
    shapes.set(`${block}.post_attention_layernorm.weight`, [width]);
    shapes.set(`${block}.mlp.gate_proj.weight`, [feedForwardWidth, width]);
    shapes.set(`${block}.mlp.up_proj.weight`, [feedForwardWidth, width]);
    shapes.set(`${block}.mlp.down_proj.weight`, [width, feedForwardWidth]);
  });
  shapes.set('model.norm.weight', [width]);
  if (!config.tiedHead) shapes.set('lm_head.weight', [vocabulary, width]);
  return shapes;
}

function trunk(
  config: LlamaConfig,
  source: ParameterSource,
  tokens: Value,
  positions: PositionValues,
  mixing: LayerMixing,
  afterLayer?: LayerObserver,
): Value {
  const { width, normEpsilon } = config;
  const norm = (name: string, x: Value): Value => rmsNorm(x, source.parameter(`${name}.weight`, [width]), normEpsilon);
  let x = embedding(source, 'model.embed_tokens', tokens, config.vocabulary, width); // [B,T,width]
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `model.layers.${layer}`;
    x = add(
      x,
      attention(config, scoped(source, attentionPrefix(layer)), norm(`${block}.input_layernorm`, x), positions, (p) =>
        mixing.mix(layer, p),
      ),
    );
    x = add(x, feedForward(config, scoped(source, `${block}.mlp`), norm(`${block}.post_attention_layernorm`, x)));
    afterLayer?.(layer, x);
  }
  return norm('model.norm', x);
}

function attention(
  config: LlamaConfig,
  source: ParameterSource,
  x: Value,
  { cos, sin, ...far }: PositionValues,
  mix: (positions: ProjectedPositions) => Value,
): Value {
  const { width, heads, keyValueHeads, headWidth } = config;
  const [B, T] = x.shape;
  const project = (name: string, count: number): Value =>
    reshape(linear(source, name, x, width, count * headWidth), [B, T, count, headWidth]); // [B,T,H,D]
  const q = project('q_proj', heads);
  const mixed = mix({
    q: rotary(q, cos, sin),
    far: far.farCos === undefined ? undefined : rotary(q, far.farCos, far.farSin),
    k: rotary(project('k_proj', keyValueHeads), cos, sin),
    v: project('v_proj', keyValueHeads),
  });
  return linear(source, 'o_proj', reshape(mixed, [B, T, heads * headWidth]), heads * headWidth, width);
}

/** SwiGLU: down(silu(gate x) · up x). */
function feedForward({ width, feedForwardWidth }: LlamaConfig, source: ParameterSource, x: Value): Value {
  const gate = silu(linear(source, 'gate_proj', x, width, feedForwardWidth));
  return linear(
    source,
    'down_proj',
    mul(gate, linear(source, 'up_proj', x, width, feedForwardWidth)),
    feedForwardWidth,
    width,
  );
}

function head(config: LlamaConfig, source: ParameterSource, hidden: Value): Value {
  return linear(source, config.tiedHead ? 'model.embed_tokens' : 'lm_head', hidden, config.width, config.vocabulary);
}
