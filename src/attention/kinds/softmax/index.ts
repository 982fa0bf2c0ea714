/** Softmax attention: o_t = Σ_{j≤t} softmax(q_t·k_j·scale + bias)·v_j, the form that the other kinds replace. */
import { z } from 'zod';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { fullAttention, scoreBias } from '../../attention-mask.ts';
import { groupingOf, ungroupQueries } from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm, MixerKind } from '../../mixer.ts';
import { definePreset } from '../../preset.ts';
import { sinkLogitField, sinkLogitParameters, sinkOfNodes, softmaxWithSink } from '../../sink-logits.ts';
import { causalSoftmax, maskedScoresOfRows, softmaxInGroups } from '../../softmax.ts';
import { ringState } from '../../state.ts';
import { nodeBlocks, softmaxValues } from '../../step-blocks.ts';
import { textRows } from '../../text-rows.ts';
import type { WindowMixer } from '../window/config.ts';
import { windowReference } from '../window/reference.ts';

const softmaxSchema = z.strictObject({ kind: z.literal('softmax'), sinkLogit: sinkLogitField });

/** The configuration of softmax attention. */
export type SoftmaxMixer = z.infer<typeof softmaxSchema>;

/** One group that never ends. */
const wholePast: WindowMixer = {
  kind: 'window',
  group: Number.POSITIVE_INFINITY,
  window: 1,
  sinks: 0,
  memory: null,
  convolution: null,
};

const cross: CrossForm<SoftmaxMixer> = {
  ...textRows((keys) => keys),
  read(_, q, { keys, values, visible }, parameters, { scale }) {
    const heads = new HeadLayout(q, Number(keys.shape[1]));
    const queries = heads.join(mul(heads.queries, scale));
    const scores = add(matmul(queries, keys, { transposeB: true }), scoreBias(visible)); // [B,M,R*n,m]
    return heads.split(matmul(softmaxWithSink(scores, sinkOfNodes(heads, parameters)), values));
  },
};

export const softmaxKind = {
  kind: 'softmax',
  schema: softmaxSchema,
  describe: ({ sinkLogit }) => `softmax attention${sinkLogit === undefined ? '' : ' + sink logit'}`,
  parameters: sinkLogitParameters,
  reference: ({ sinkLogit }, positions) => windowReference({ ...wholePast, sinkLogit }, positions),
  parallel: (_, input) => causalSoftmax(input),
  recurrent: {
    state: (_, dims) => ringState(dims, { group: Number.POSITIVE_INFINITY, convolution: null }),
    step(_, input) {
      const { keys, values, all: blocks } = nodeBlocks(input);
      const scores = maskedScoresOfRows(input, blocks);
      const sink = sinkOfNodes(input.heads, input.parameters);
      return { mixed: softmaxValues(input, blocks, scores, sink && [{ score: sink }]), keys, values };
    },
    sameBits: () => 'open rows',
    readsColumns: true,
  },
  bidirectional(_, input) {
    const grouping = groupingOf(input, Number.POSITIVE_INFINITY);
    return ungroupQueries(grouping, softmaxInGroups(fullAttention(grouping, grouping, input.mask, true), input));
  },
  cross,
  presets: { softmax: definePreset({}, () => ({ kind: 'softmax' })) },
} satisfies MixerKind<SoftmaxMixer>;
