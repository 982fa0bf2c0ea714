/**
 * The attentions of T5 over whole texts: in the encoder, in the decoder, and between them. None divides scores by √D,
 * which T5's projections have learned to do without; feature maps that have the division inside are fed q and k
 * multiplied by D^¼; the mixers of encoders are those of `attention/bidirectional.ts`.
 */
import { mixBidirectional } from '../../attention/bidirectional.ts';
import { crossMemory, readMemory } from '../../attention/cross.ts';
import { type MixerConfig, mixerParameters } from '../../attention/mixer.ts';
import {
  type MixerParameterValues,
  type ProjectedPositions,
  requireMixerParameters,
} from '../../attention/mixer-values.ts';
import { hiddenScore, mixParallel } from '../../attention/parallel.ts';
import type { Value } from '../../graph/graph.ts';
import { add, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { softmax } from '../../graph/ops/softmax.ts';
import { tensor } from '../../graph/tensor.ts';
import { type ParameterSource, scoped } from '../../nn/parameters.ts';
import { relativeBias } from '../../nn/relative-positions.ts';
import type { AttentionPart } from '../linnet-section.ts';
import type { T5Config } from './config.ts';
import { linearCross, linearDecoder, linearEncoder } from './linear-attention.ts';
import { attentionName, biasTableName, mixerSizes, type Stack } from './parameters.ts';

/** The mixer of an attention and its learned parameters. */
export interface MountedMixer {
  readonly mixer: MixerConfig;
  readonly parameters: MixerParameterValues;
}

/** The mixer of a part's layer, with its parameters. */
export function mountMixer(
  config: T5Config,
  source: ParameterSource,
  part: AttentionPart,
  layer: number,
): MountedMixer {
  const mixer = config.mixers[part][layer];
  const own = scoped(source, attentionName(part, layer));
  const parameters: Partial<Record<keyof MixerParameterValues, Value>> = {};
  for (const { name, shape } of mixerParameters(mixer, mixerSizes(config)))
    parameters[name] = own.parameter(name, shape);
  return { mixer, parameters };
}

/** The table of relative biases of a stack [buckets,H]. */
export function biasTable(config: T5Config, source: ParameterSource, stack: Stack): Value {
  return source.parameter(`${biasTableName(stack)}.weight`, [config.buckets, config.heads]);
}

/** The relative bias [H,n,n] of a stretch of n positions of a stack. */
export type StackBias = (length: number) => Value;

export function stackBias(config: T5Config, source: ParameterSource, stack: Stack): StackBias {
  const scheme = { buckets: config.buckets, farthest: config.farthest, causal: stack === 'decoder' };
  const made = new Map<number, Value>();
  return (length) => {
    const known = made.get(length) ?? relativeBias(biasTable(config, source, stack), length, scheme);
    made.set(length, known);
    return known;
  };
}

/** Self-attention of the encoder. q, k and v [B,n,H,D], mask [B,n] → [B,n,H,D]. */
export function encoderAttention(
  config: T5Config,
  { mixer, parameters }: MountedMixer,
  positions: ProjectedPositions,
  mask: Value,
  bias: StackBias,
): Value {
  requireMixerParameters(mixer, positions, parameters);
  if (mixer.kind === 'linear') return linearEncoder(mixer, { ...positions, mask, parameters, bias }, config.padding);
  if (mixer.kind !== 'softmax') return mixBidirectional(mixer, tempered(mixer, positions), mask, parameters);
  return readWhole(positions, mask, bias(Number(positions.q.shape[1])));
}

/** Self-attention of the decoder. q, k and v [B,n,H,D], mask [B,n] → [B,n,H,D]. */
export function decoderAttention(
  { mixer, parameters }: MountedMixer,
  positions: ProjectedPositions,
  mask: Value | undefined,
  bias: StackBias,
): Value {
  requireMixerParameters(mixer, positions, parameters);
  if (mixer.kind === 'linear') return linearDecoder(mixer, { ...positions, mask, parameters, bias });
  if (mixer.kind !== 'softmax') return mixParallel(mixer, tempered(mixer, positions), parameters);
  const n = Number(positions.q.shape[1]);
  return softmaxDecoder(positions, mask, bias(n));
}

/** Attention of the decoder to what was encoded: q [B,n,H,D]; k and v [B,m,H,D] with mask [B,m] → [B,n,H,D]. */
export function crossAttention({ mixer, parameters }: MountedMixer, positions: ProjectedPositions, mask: Value): Value {
  requireMixerParameters(mixer, positions, parameters);
  if (mixer.kind === 'linear') return linearCross(mixer, positions, mask, parameters);
  if (mixer.kind !== 'softmax') return mixBidirectional(mixer, tempered(mixer, positions), mask, parameters);
  return readWhole(positions, mask);
}

/** q and k as a mixer needs them so that it computes, or approximates, softmax of q·k instead of q·k/√D. */
export function tempered<Positions extends Pick<ProjectedPositions, 'q' | 'k'>>(
  mixer: MixerConfig,
  positions: Positions,
): Positions {
  const D = Number(positions.q.shape[3]);
  if (mixer.kind === 'linformer' || mixer.kind === 'block-linformer') {
    return { ...positions, q: mul(positions.q, Math.sqrt(D)) };
  }
  if (mixer.kind !== 'features' || mixer.map.name !== 'performer') return positions;
  return { ...positions, q: mul(positions.q, D ** 0.25), k: mul(positions.k, D ** 0.25) };
}

/** Softmax of q·k + bias over a whole text. */
function readWhole({ q, k, v }: ProjectedPositions, mask: Value, bias?: Value): Value {
  const softmaxMixer = { kind: 'softmax' } as const;
  return readMemory(softmaxMixer, q, crossMemory(softmaxMixer, { k, v, mask }, {}), {}, { scale: 1, bias });
}

function softmaxDecoder({ q, k, v }: ProjectedPositions, mask: Value | undefined, bias: Value): Value {
  const [B, n] = q.shape.map(Number);
  const [queries, keys, values] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3])); // [B,H,n,D]
  const past = q.graph.sharedConstant(`t5 causal ${n}`, () =>
    tensor(
      'float32',
      [n, n],
      Float32Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 0 : hiddenScore)),
    ),
  );
  let scores = add(matmul(queries, keys, { transposeB: true }), add(bias, past)); // [B,H,n,n]
  if (mask !== undefined) scores = add(scores, reshape(mul(sub(mask, 1), -hiddenScore), [B, 1, 1, n]));
  return transpose(matmul(softmax(scores), values), [0, 2, 1, 3]);
}
