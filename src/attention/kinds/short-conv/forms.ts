/** The short convolution over whole sequences: its filters are so short that shifted sums cost less than matrix products. */
import type { Value } from '../../../graph/graph.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { concat, pad, reshape, slice, split, transpose } from '../../../graph/ops/layout.ts';
import { type MixerParameterValues, learnedParameter } from '../../attention-layer.ts';
import type {
  AttentionDims,
  LayoutInputs,
  MixerConfig,
  MixerStepOutput,
  SequenceInput,
  StateShape,
  StepInput,
} from '../../mixer.ts';
import { type ShortConvMixer, shortBias, shortFilter } from './config.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { multiplyDims, tensor } from '../../../graph/tensor.ts';
import { nodeRows } from '../../step-blocks.ts';

/** The filters by index and channel: [L,M,D]. */
function filterRows(
  { kernel }: Pick<ShortConvMixer, 'kernel'>,
  parameters: MixerParameterValues,
  [M, D]: readonly number[],
): Value {
  const filter = learnedParameter(parameters, shortFilter);
  return reshape(transpose(reshape(filter, [M * D, kernel]), [1, 0]), [kernel, M, D]);
}

/** The output: q ⊙ (convolved + b), all [B,n,M,D]. */
function gated({ q, parameters }: SequenceInput, convolved: Value): Value {
  const bias = parameters[shortBias];
  const [, , M, D] = q.shape;
  return mul(q, bias === undefined ? convolved : add(convolved, reshape(bias, [M, D])));
}

export function shortParallel(config: ShortConvMixer, input: SequenceInput): Value {
  const products = mul(input.k, input.v); // [B,n,M,D]
  const filters = filterRows(config, input.parameters, products.shape.slice(2).map(Number));
  return gated(input, convolvedSequences(products, filters));
}

/** Filters rows [B,n,M,D], each with the rows before it, by [L,M,D]. */
export function convolvedSequences(rows: Value, filters: Value): Value {
  const [kernel, M, D] = filters.shape.map(Number);
  const n = Number(rows.shape[1]);
  const terms = Array.from({ length: Math.min(kernel, n) }, (_, back) => {
    const shifted = slice(pad(rows, 1, back, 0), 1, 0, n);
    return mul(shifted, reshape(slice(filters, 0, kernel - 1 - back, kernel - back), [M, D]));
  });
  return addAll(terms);
}

// The short convolution over token trees: every node gathers its own row and its last ancestors' rows, committed or not.

/** C: the rows that later positions read; at least one, so that no tensor is empty. */
function slotsOf({ kernel }: Pick<ShortConvMixer, 'kernel'>): number {
  return Math.max(kernel - 1, 1);
}

/** Keeps a row of z as two halves, since a state has keys and values. */
export function shortState(config: ShortConvMixer, { headWidth: D }: AttentionDims): StateShape {
  return { slots: slotsOf(config), keyWidth: Math.ceil(D / 2), valueWidth: Math.floor(D / 2), folded: null };
}

export function shortStep(config: ShortConvMixer, input: StepInput): MixerStepOutput {
  const { ring, inputs, parameters } = input;
  const products = mul(input.k, input.v); // [B,T,M,D]
  const [, , M, D] = products.shape;
  const filters = filterRows(config, parameters, [Number(M), Number(D)]);
  const held = nodeRows(concat([ring.keys, ring.values], 3));
  const convolved = convolvedNodes(held, products, filters, inputs); // [B,T,M,D]
  const [keys, values] = split(nodeRows(products), 3, [Math.ceil(Number(D) / 2), Math.floor(Number(D) / 2)]);
  return { mixed: nodeRows(gated(input, convolved)), keys, values };
}

const tapsName = 'taps';

/**
 * Filters the nodes' rows [B,T,M,D] by [L,M,D], with the ring's rows [B,C,M,D] before them. A product sums the terms in a
 * third of the time a sum takes.
 */
export function convolvedNodes(ring: Value, own: Value, filters: Value, inputs: StepInput['inputs']): Value {
  const rows = concat([ring, own], 1); // [B,C+T,M,D]
  const [B, count, M, D] = rows.shape;
  const L = Number(filters.shape[0]);
  const channels = multiplyDims(M, D);
  const read = gather(reshape(rows, [multiplyDims(B, count), channels]), inputs[tapsName], 0); // [B,T,L,M·D]
  const ones = rows.graph.sharedNumbers(`ones of ${L} terms`, [1, L], () => 1);
  return reshape(matmul(ones, mul(read, reshape(filters, [L, channels]))), own.shape);
}

/** Rows under every node's filter: int32 [B,T,L], indices into the B·(C+T) rows that `convolvedNodes` joins, earliest first. */
export const shortInputs: LayoutInputs<Pick<ShortConvMixer, 'kernel'> & MixerConfig> = {
  tag: () => 'z',
  declare: ({ kernel }) => ({ [tapsName]: { dtype: 'int32', shape: ['B', 'T', kernel] } }),
  feeds({ kernel }, steps, T, C) {
    const taps = new Int32Array(steps.length * T * kernel);
    let place = 0;
    for (const [b, { tree, committed }] of steps.entries()) {
      for (let node = 0; node < T; node++) {
        const depth = node < tree.size ? tree.depths[node] : 0;
        let at = node;
        for (let index = kernel - 1; index >= 0; index--) {
          // Committed positions precede the tree, each in its slot; slots of positions before the text hold zeros.
          const position = committed + depth - (kernel - 1 - index);
          taps[place + index] = b * (C + T) + (at >= 0 ? C + at : (position + C) % C);
          if (at >= 0 && at < tree.size) at = tree.parents[at];
        }
        place += kernel;
      }
    }
    return { [tapsName]: tensor('int32', [steps.length, T, kernel], taps) };
  },
};

const lastName = 'last.ring';

/** The rows that filters reach in a longer ring [B,M,C,X] or [B·M·C,X], in the order `shortInputs` expects: [B,L−1,M,X]. */
export function lastRows(ring: Value, inputs: StepInput['inputs']): Value {
  const outer = ring.shape.slice(0, -1);
  return gather(reshape(ring, [multiplyDims(...outer), ring.shape[outer.length]]), inputs[lastName], 0);
}

/**
 * `shortInputs` for a ring that holds more rows, of M heads, next to the inputs of a rule that reads them: int32 [B,L−1,M],
 * indices into its B·M·C rows.
 */
export function lastRowsInputs<Config extends Pick<ShortConvMixer, 'kernel'> & MixerConfig>(
  tag: string,
  headsOf: (config: Config) => number,
  rule: LayoutInputs<Config>,
): LayoutInputs<Config> {
  return {
    ...rule,
    tag: () => tag,
    declare: (config, dims, named) => ({
      ...rule.declare(config, dims, named),
      ...shortInputs.declare(config, dims, named),
      [lastName]: { dtype: 'int32', shape: ['B', slotsOf(config), headsOf(config)] },
    }),
    feeds(config, steps, T, C) {
      const [M, L] = [headsOf(config), slotsOf(config)];
      const rows = new Int32Array(steps.length * M * L);
      for (const [b, { committed }] of steps.entries()) {
        for (let position = committed - L; position < committed; position++) {
          const [place, slot] = [(position + L) % L, (position + C) % C];
          for (let m = 0; m < M; m++) rows[(b * L + place) * M + m] = (b * M + m) * C + slot;
        }
      }
      const last = tensor('int32', [steps.length, L, M], rows);
      return { ...rule.feeds(config, steps, T, C), ...shortInputs.feeds(config, steps, T, L), [lastName]: last };
    },
  };
}
