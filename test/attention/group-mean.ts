/**
 * A throw-away kind of mixer, written as somebody would who follows the recipe of CONTRIBUTING.md: the mean of the values of
 * the own group, times a learned gain. It has every form that decoding needs, and none for encoders.
 */
import { z } from 'zod';
import {
  addScaled,
  blocksOf,
  causalAttention,
  definePreset,
  groupingOf,
  groupKeys,
  groupOption,
  groupQueries,
  type MixerConfig,
  type MixerKind,
  type MixerParameterValues,
  nodeRows,
  ringState,
  ungroupQueries,
  weightedValues,
} from '../../src/attention/index.ts';
import type { Value } from '../../src/graph/graph.ts';
import { matmul, sum } from '../../src/graph/ops/contraction.ts';
import { addAll, div, mul } from '../../src/graph/ops/elementwise.ts';

interface GroupMeanMixer extends MixerConfig {
  readonly kind: 'group-mean';
  readonly group: number;
}

function withGain(mean: Value, { gain }: MixerParameterValues): Value {
  return mul(mean, gain ?? 0);
}

export const groupMeanKind: MixerKind<GroupMeanMixer> = {
  kind: 'group-mean',
  schema: z.strictObject({ kind: z.literal('group-mean'), group: z.int().min(1).default(4) }),
  examples: { 'group-mean': { kind: 'group-mean' } },
  describe: ({ group }) => `mean of groups of ${group}`,
  parameters: () => [{ name: 'gain', shape: [1], init: 'ones' }],
  horizon: ({ group }) => ({ group, reach: -1 }),
  reference({ group }, positions) {
    const [gain] = positions.parameter('gain');
    return positions.mapRows((head, t) => {
      const own = positions.seen(t).filter((j) => positions.group(j, group) === positions.group(t, group));
      const mean = new Float64Array(positions.valueWidth);
      for (const j of own) addScaled(mean, gain / own.length, positions.value(positions.keyValueHead(head), j));
      return mean;
    });
  },
  parallel({ group }, { q, k, v, parameters }) {
    const grouping = groupingOf({ q, k }, group);
    const visible = causalAttention(grouping).visible(groupQueries(grouping, q)); // [R*G,G]
    const weights = div(visible, sum(visible, [-1], true));
    return withGain(ungroupQueries(grouping, matmul(weights, groupKeys(grouping, v))), parameters);
  },
  recurrent: {
    state: ({ group }, dims) => ringState(dims, { group, convolution: null }),
    step(_, input) {
      const [keys, values] = [nodeRows(input.k), nodeRows(input.v)]; // [B,M,T,D], [B,M,T,E]
      const { all: blocks } = blocksOf(input, keys, values);
      const visible = blocks.map(({ masks }) => input.heads.tile(masks.same)); // [B,1,R*T,rows]
      const count = addAll(visible.map((mask) => sum(mask, [-1], true)));
      return { mixed: withGain(div(weightedValues(blocks, visible), count), input.parameters), keys, values };
    },
  },
  presets: { 'group-mean': definePreset(groupOption, ({ group }) => ({ kind: 'group-mean', group })) },
};
