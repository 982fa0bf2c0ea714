/**
 * Linformer as published (Wang et al., "Linformer: Self-Attention with Linear Complexity"): keys and values of the whole
 * sequence are projected to r rows, which every position attends to. It is meant for encoders. In a causal model every
 * output depends on every later token.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { reshape, slice } from '../../../graph/ops/layout.ts';
import { softmax } from '../../../graph/ops/softmax.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm, CrossMemory, MixerParameterValues, SequenceInput } from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import { keyProjection, type LinformerMixer, requireFittingLength, valueProjection } from './config.ts';

/** The memory of a text, and attention to it: softmax(q·(E k)ᵀ·scale)·(F v). E and F [r,N] are cut to the text's length. */
export const linformerCross: CrossForm<LinformerMixer> = {
  tensors: ({ rows }, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    keys: [keyValueHeads, rows, headWidth],
    values: [keyValueHeads, rows, valueWidth],
  }),
  memory(config, { k, v, mask }, parameters) {
    const [B, m] = mask.shape;
    const tokens = reshape(mask, [B, m, 1, 1]);
    return projected(config, mul(k, tokens), mul(v, tokens), parameters);
  },
  read(_, q, memory, __, { scale }) {
    const heads = new HeadLayout(q, Number(memory.keys.shape[1]));
    const queries = heads.join(mul(heads.queries, scale));
    const scores = matmul(queries, memory.keys, { transposeB: true }); // [B,M,R*n,r]
    return heads.split(matmul(softmax(scores), memory.values));
  },
};

/** Rows [B,M,r,D] and [B,M,r,E]; keys and values of padding must be zero. @throws LinnetError `SHAPE` for too long a text */
function projected(config: LinformerMixer, k: Value, v: Value, parameters: MixerParameterValues): CrossMemory {
  const length = Number(k.shape[1]);
  requireFittingLength(config, length);
  const rows = (name: string, x: Value): Value => {
    const weights = parameters[name];
    if (weights === undefined) throw internalError('a Linformer mixer without its projections');
    return matmul(slice(weights, 1, 0, length), nodeRows(x));
  };
  return { keys: rows(keyProjection, k), values: rows(valueProjection, v) };
}

/** The form over whole sequences, without the convolution: [B,n,H,E]. */
export function linformerOfWhole(config: LinformerMixer, input: SequenceInput): Value {
  const { q, k, v, parameters, scoring } = input;
  return linformerCross.read(config, q, projected(config, k, v, parameters), parameters, scoring);
}
