/**
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101) and clipping by the global norm, as graph. Same order of operations
 * as PyTorch: decay, then moments, then the step with bias-corrected moments.
 */
import type { Graph, Value } from '../graph/graph.ts';
import { sum } from '../graph/ops/contraction.ts';
import { add, addAll, div, minimum, mul, sqrt, sub } from '../graph/ops/elementwise.ts';
import { sumSquare } from '../graph/ops/reduce.ts';
import { elementCount, float32, type Tensor } from '../graph/tensor.ts';

export interface AdamWConfig {
  /** Default 0.9. */
  readonly beta1: number;
  /** Default 0.95, as the paper says; its code leaves PyTorch's 0.999. */
  readonly beta2: number;
  /** ε, default 1e-8. */
  readonly epsilon: number;
  /** Decoupled weight decay, default 0; only for parameters whose role decays. */
  readonly weightDecay: number;
}

export const adamWDefaults: AdamWConfig = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 };

/** The numbers of an optimizer step that change from step to step, as scalar inputs of the graph. */
export interface AdamWInputs {
  readonly learningRate: Value;
  /** 1 − β₁^t. */
  readonly correction1: Value;
  /** √(1 − β₂^t). */
  readonly correction2: Value;
}

export function declareAdamWInputs(graph: Graph): AdamWInputs {
  return {
    learningRate: graph.input('learning_rate', 'float32', []),
    correction1: graph.input('correction1', 'float32', []),
    correction2: graph.input('correction2', 'float32', []),
  };
}

/** Feeds for `declareAdamWInputs`. @param update counted from 0 */
export function adamWFeeds(config: AdamWConfig, learningRate: number, update: number): Record<string, Tensor> {
  const t = update + 1;
  return {
    learning_rate: float32([], [learningRate]),
    correction1: float32([], [1 - config.beta1 ** t]),
    correction2: float32([], [Math.sqrt(1 - config.beta2 ** t)]),
  };
}

export interface Moments {
  /** m: running mean of gradients. */
  readonly first: Value;
  /** v: running mean of squared gradients. */
  readonly second: Value;
}

/** One optimizer step of one parameter. All values have the parameter's shape. */
export function adamW(
  config: AdamWConfig,
  inputs: AdamWInputs,
  parameter: Value,
  gradient: Value,
  moments: Moments,
  decayed: boolean,
): { parameter: Value; moments: Moments } {
  const { beta1, beta2, epsilon, weightDecay } = config;
  const first = add(mul(moments.first, beta1), mul(gradient, 1 - beta1));
  const second = add(mul(moments.second, beta2), mul(mul(gradient, gradient), 1 - beta2));
  const denominator = add(div(sqrt(second), inputs.correction2), epsilon);
  const step = mul(div(first, denominator), div(inputs.learningRate, inputs.correction1));
  const kept = decayed && weightDecay !== 0 ? mul(parameter, sub(1, mul(inputs.learningRate, weightDecay))) : parameter;
  return { parameter: sub(kept, step), moments: { first, second } };
}

/** Sums larger gradients row by row first: a single float32 sum of squares loses small ones, 3 · 10⁻⁴ over two million numbers. */
const mostSummedAtOnce = 2 ** 16;

/** ‖all gradients together‖₂, a scalar. */
export function globalNorm(gradients: readonly Value[]): Value {
  const squares = gradients.map((gradient) => {
    const isLarge = gradient.rank > 1 && elementCount(gradient.shape.map(Number)) > mostSummedAtOnce;
    return isLarge ? sum(sumSquare(gradient, [gradient.rank - 1])) : sumSquare(gradient);
  });
  return sqrt(addAll(squares));
}

/** Gradients times min(1, limit / (norm + 1e-6)), as PyTorch's clip_grad_norm_. */
export function clipByNorm(gradients: readonly Value[], norm: Value, limit: number): Value[] {
  const factor = minimum(div(limit, add(norm, 1e-6)), 1);
  return gradients.map((gradient) => mul(gradient, factor));
}
