/** Softmax attention: o_t = Σ_{j≤t} softmax(q_t·k_j·scale + bias)·v_j, the form that the other kinds replace. */
import { z } from 'zod';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { fullAttention, scoreBias } from '../../attention-mask.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { softmax } from '../../../graph/ops/softmax.ts';
import { groupingOf, ungroupQueries } from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm, MixerKind } from '../../mixer.ts';
import { definePreset } from '../../preset.ts';
import { causalSoftmax, maskedScoresOfRows, softmaxInGroups } from '../../softmax.ts';
import { ringState } from '../../state.ts';
import { blocksOf, nodeRows, softmaxValues } from '../../step-blocks.ts';
import type { LinearBranches } from '../linear/config.ts';
import { linearReference } from '../linear/reference.ts';

const softmaxSchema = z.strictObject({ kind: z.literal('softmax') });

/** The configuration of softmax attention. */
export type SoftmaxMixer = z.infer<typeof softmaxSchema>;

/** One local group that never ends. */
export const softmaxBranches: LinearBranches = {
  ...{ group: Number.POSITIVE_INFINITY, local: { kernel: 'softmax', scale: 'none' }, global: null },
  ...{ convolution: null, normalize: null, castling: false },
};

const cross: CrossForm<SoftmaxMixer> = {
  tensors: (_, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    keys: [keyValueHeads, 'm', headWidth],
    values: [keyValueHeads, 'm', valueWidth],
    visible: [1, 1, 'm'],
  }),
  memory(_, { k, v, mask }) {
    const [B, m] = mask.shape;
    return { keys: nodeRows(k), values: nodeRows(v), visible: reshape(mask, [B, 1, 1, m]) };
  },
  read(_, q, { keys, values, visible }, __, { scale }) {
    const heads = new HeadLayout(q, Number(keys.shape[1]));
    const queries = heads.join(mul(heads.queries, scale));
    const scores = add(matmul(queries, keys, { transposeB: true }), scoreBias(visible)); // [B,M,R*n,m]
    return heads.split(matmul(softmax(scores), values));
  },
};

export const softmaxKind = {
  kind: 'softmax',
  schema: softmaxSchema,
  examples: { softmax: { kind: 'softmax' } },
  describe: () => 'softmax attention',
  parameters: () => [],
  reference: (_, positions) => linearReference(softmaxBranches, positions),
  parallel: (_, input) => causalSoftmax(input),
  recurrent: {
    state: (_, dims) => ringState(dims, { group: Number.POSITIVE_INFINITY, convolution: null }),
    step(_, input) {
      const [keys, values] = [nodeRows(input.k), nodeRows(input.v)]; // [B,M,T,D]
      const blocks = blocksOf(input, keys, values);
      return { mixed: softmaxValues(blocks, maskedScoresOfRows(input, blocks)), keys, values };
    },
  },
  bidirectional(_, input) {
    const grouping = groupingOf(input, Number.POSITIVE_INFINITY);
    return ungroupQueries(grouping, softmaxInGroups(fullAttention(grouping, grouping, input.mask, true), input));
  },
  cross,
  presets: { softmax: definePreset({}, () => ({ kind: 'softmax' })) },
} satisfies MixerKind<SoftmaxMixer>;
