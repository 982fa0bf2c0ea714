/** The short convolution over whole sequences: its filters are so short that shifted sums cost less than matrix products. */
import type { Value } from '../../../graph/graph.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { pad, reshape, slice, transpose } from '../../../graph/ops/layout.ts';
import { learnedParameter, type MixerParameterValues } from '../../attention-layer.ts';
import type { SequenceInput } from '../../mixer.ts';
import { shortBias, shortFilter, type ShortConvMixer } from './config.ts';

/** The filters by index and channel: [L,M,D]. */
export function filterRows(
  { kernel }: Pick<ShortConvMixer, 'kernel'>,
  parameters: MixerParameterValues,
  [M, D]: readonly number[],
): Value {
  const filter = learnedParameter(parameters, shortFilter);
  return reshape(transpose(reshape(filter, [M * D, kernel]), [1, 0]), [kernel, M, D]);
}

/** The output: q ⊙ (convolved + b), all [B,n,M,D]. */
export function gated({ q, parameters }: SequenceInput, convolved: Value): Value {
  const bias = parameters[shortBias];
  const [, , M, D] = q.shape;
  return mul(q, bias === undefined ? convolved : add(convolved, reshape(bias, [M, D])));
}

export function shortParallel(config: ShortConvMixer, input: SequenceInput): Value {
  const products = mul(input.k, input.v); // [B,n,M,D]
  const filters = filterRows(config, input.parameters, products.shape.slice(2).map(Number));
  return gated(input, convolvedSequences(products, filters));
}

/** Rows [B,n,M,D] under the filters [L,M,D], each with those before it. */
export function convolvedSequences(rows: Value, filters: Value): Value {
  const [kernel, M, D] = filters.shape.map(Number);
  const n = Number(rows.shape[1]);
  const terms = Array.from({ length: Math.min(kernel, n) }, (_, back) => {
    const shifted = slice(pad(rows, 1, back, 0), 1, 0, n);
    return mul(shifted, reshape(slice(filters, 0, kernel - 1 - back, kernel - back), [M, D]));
  });
  return addAll(terms);
}
