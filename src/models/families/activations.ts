/** Activations of feed-forwards and heads by their config.json names. */
import type { Value } from '../../graph/graph.ts';
import { relu, silu, tanh } from '../../graph/ops/elementwise.ts';
import { gelu, geluTanh } from '../../graph/ops/activations.ts';

export const activations = {
  gelu,
  gelu_python: gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
  swish: silu,
  tanh,
} as const satisfies Readonly<Record<string, (x: Value) => Value>>;

export type Activation = keyof typeof activations;
