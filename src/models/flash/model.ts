/**
 * FLASH (Hua et al., arXiv 2202.10447) as the paper trains it from scratch: token and scaled sinusoidal positions, gated
 * attention units, LayerNorm and an untied head. Parameters have the names of the reference code.
 */
import type { Value } from '../../graph/graph.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { pad, slice } from '../../graph/ops/layout.ts';
import { elementCount, type Tensor, tensor } from '../../graph/tensor.ts';
import { embedding } from '../../nn/linear.ts';
import { type ParameterShapes, type ParameterSource, scoped } from '../../nn/parameters.ts';
import type { PositionEncoding, PositionValues } from '../../nn/positions.ts';
import { RotaryTables } from '../../nn/rotary-positions.ts';
import type { Random } from '../../random.ts';
import { type FlashConfig, flashValueWidth } from './config.ts';
import {
  biased,
  closeUnit,
  flashLayerNorm,
  projectUnit,
  rotaryWidth,
  type UnitPositions,
  unitParameters,
} from './gated-unit.ts';
import { mixUnit } from './parallel.ts';

/** Base of the frequencies of both the sinusoids and rotary embedding. */
const frequencyBase = 10000;

/** Names and shapes of all parameters. Linear weights are [outputs, inputs]. */
export function flashParameters(config: FlashConfig): ParameterShapes {
  const { vocab_size: V, dim: D, depth } = config;
  const shapes = new Map<string, readonly number[]>([
    ['token_emb.weight', [V, D]],
    ['abs_pos_emb.scale', [1]],
  ]);
  for (let layer = 0; layer < depth; layer++) {
    for (const [name, shape] of unitParameters(config)) shapes.set(`layers.${layer}.${name}`, shape);
  }
  shapes.set('to_logits.0.weight', [D]);
  shapes.set('to_logits.0.bias', [D]);
  shapes.set('to_logits.1.weight', [V, D]);
  shapes.set('to_logits.1.bias', [V]);
  return shapes;
}

/** The parameter that a stored tensor is; undefined for the frequency tables, which follow from the configuration. */
export function flashParameterName(stored: string): string | undefined {
  return /(^|\.)(abs_pos_emb\.inv_freq|rotary_pos_emb\.freqs)$/.test(stored) ? undefined : stored;
}

/** Sinusoids [B,T,D] (all sines, then all cosines) and rotary angles of positions, however far out. */
export class FlashPositions implements PositionEncoding {
  readonly values: PositionEncoding['values'];
  readonly limit = Number.POSITIVE_INFINITY;
  readonly #rotary: RotaryTables;
  readonly #sinusoids: RotaryTables;
  readonly #dim: number;

  constructor(config: FlashConfig) {
    this.#rotary = new RotaryTables({ width: rotaryWidth(config), base: frequencyBase });
    this.#sinusoids = new RotaryTables({ width: config.dim, base: frequencyBase });
    this.#dim = config.dim;
    this.values = { sinusoids: { dtype: 'float32', shape: [config.dim] }, ...this.#rotary.values };
  }

  at(positions: ArrayLike<number>, batch: number, length: number): Record<string, Tensor> {
    const { cos, sin } = this.#sinusoids.at(positions, batch, length);
    const half = this.#dim / 2;
    const sinusoids = new Float32Array(batch * length * this.#dim);
    for (let i = 0; i < batch * length * half; i++) {
      const place = Math.floor(i / half) * this.#dim + (i % half);
      sinusoids[place] = Number(sin.data[i]);
      sinusoids[place + half] = Number(cos.data[i]);
    }
    return {
      sinusoids: tensor('float32', [batch, length, this.#dim], sinusoids),
      ...this.#rotary.at(positions, batch, length),
    };
  }
}

/** How a layer delays features [B,n,D/2] by a token, and how it mixes its positions to [B,n,E]. */
export interface FlashMixing {
  shift(layer: number, half: Value): Value;
  mix(layer: number, source: ParameterSource, unit: UnitPositions): Value;
}

/** Tokens int32 [B,T] → logits [B,T,V], given how positions are mixed. */
export function flashNetwork(
  config: FlashConfig,
  source: ParameterSource,
  tokens: Value,
  positions: PositionValues,
  mixing: FlashMixing,
): Value {
  const { vocab_size: V, dim: D, depth } = config;
  const scale = source.parameter('abs_pos_emb.scale', [1]);
  let x = add(embedding(source, 'token_emb', tokens, V, D), mul(positions.sinusoids, scale)); // [B,T,D]
  for (let layer = 0; layer < depth; layer++) {
    const own = scoped(source, `layers.${layer}`);
    const unit = projectUnit(config, own, x, positions, (half) => mixing.shift(layer, half));
    x = closeUnit(config, own, x, unit.gate, mixing.mix(layer, own, unit));
  }
  return biased(source, 'to_logits.1', flashLayerNorm(source, 'to_logits.0', x, D), D, V);
}

/**
 * Whole sequences at once.
 *
 * @param tokens int32 [B,n] of static shape
 * @param keyMask float32 [B,n], 0 for padding; causal models need none if padding is at the end
 * @returns logits [B,n,V]
 */
export function flashLogits(config: FlashConfig, source: ParameterSource, tokens: Value, keyMask?: Value): Value {
  const [B, n] = tokens.shape.map(Number);
  const indices = Int32Array.from({ length: B * n }, (_, i) => i % n);
  const positions = Object.fromEntries(
    Object.entries(new FlashPositions(config).at(indices, B, n)).map(([name, value]) => [
      name,
      source.graph.constant(value),
    ]),
  );
  return flashNetwork(config, source, tokens, positions, {
    shift: (_, half) => slice(pad(half, 1, 1, 0), 1, 0, n),
    mix: (_, own, unit) => mixUnit(config, own, unit, keyMask),
  });
}

/** Random parameters as the reference code draws them: PyTorch's defaults, and γ from N(0, 0.02). */
export function initializeFlash(config: FlashConfig, random: Random): Map<string, Tensor<'float32'>> {
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const [name, shape] of flashParameters(config)) {
    const draw = distribution(config, name, random);
    parameters.set(name, tensor('float32', shape, Float32Array.from({ length: elementCount(shape) }, draw)));
  }
  return parameters;
}

function distribution(config: FlashConfig, name: string, random: Random): () => number {
  const uniform = (inputs: number) => (): number => (2 * random.uniform() - 1) / Math.sqrt(inputs);
  const rules: readonly [RegExp, () => number][] = [
    [/(^|\.)(abs_pos_emb\.scale|norm\.(g|weight)|to_logits\.0\.weight)$/, () => 1],
    [/(norm\.bias|to_logits\.0\.bias|beta)$/, () => 0],
    [/gamma$/, () => 0.02 * random.normal()],
    [/(token_emb|relative_attention_bias)\.weight$/, () => random.normal()],
    [/dwconv\.weight$/, uniform(config.convolution ?? 1)],
    [/to_out\./, uniform(flashValueWidth(config))],
  ];
  return rules.find(([pattern]) => pattern.test(name))?.[1] ?? uniform(config.dim);
}
