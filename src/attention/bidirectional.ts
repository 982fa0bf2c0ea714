/**
 * Mixers of encoders: every position reads all tokens of the text, before it and behind it, and padding is read by nobody.
 *
 * The formula is that of `mixer.ts` with other sums (docs/mixers.md). The linear kind: the local branch over all tokens of
 * the own group, the global branch over all tokens of the other groups, or of the whole text where there is no local
 * branch, the convolution with all its K taps, centred. So every token is seen once by local and global together. Softmax,
 * features, and YOSO's expectation: over all tokens. Linformer: as published; by blocks, over the rows of all other blocks.
 * `gau`: the local branch over the own group, the global one over the whole text, divided by its length.
 *
 * Values at padded positions are set to zero before anything reads them. That alone hides padding from every sum without
 * a denominator; softmax and the denominators of features are masked, and so are the keys that Linformer projects.
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { formatShape, sameShape } from '../graph/shape.ts';
import { attendGroups, localSoftmax } from './branches.ts';
import { convolvePositions } from './convolution.ts';
import { featuresOfWhole } from './features/feature-parallel.ts';
import { gauParallel } from './gau/gau-parallel.ts';
import { groupKeys, groupQueries, makeGrouping, ungroupQueries } from './grouping.ts';
import { blockLinformerOfWhole } from './linformer/block-linformer.ts';
import { linformerParallel } from './linformer/whole-linformer.ts';
import { convolutionOf, groupOf, linearForm, type MixerConfig, requireCrossing } from './mixer.ts';
import { type MixerParameterValues, type ProjectedPositions, requireMixerParameters } from './mixer-values.ts';
import { wholeSight } from './sight.ts';

/**
 * Mixes whole texts, each position reading all tokens.
 *
 * In cross attention the queries are those of another text, of m positions. It has no groups in common with the keys, so a
 * mixer with local groups or a convolution is refused.
 *
 * @param positions q [B,m,H,D], k [B,n,M,D] and v [B,n,M,E]; m = n except in cross attention
 * @param mask float32 [B,n]: 1 for tokens, 0 for padding
 * @returns [B,m,H,E]; finite at padded positions, and in a text without any token
 * @throws LinnetError `SHAPE` for a mask of another shape, or a text longer than Linformer's projections; `CONFIG` for a
 *   mixer that has no form for cross attention; `TENSOR` for a missing parameter
 */
export function mixBidirectional(
  config: MixerConfig,
  { q, k, v }: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
): Value {
  requireMixerParameters(config, { q, k, v }, parameters);
  const [batch, queryLength, heads] = q.shape.map(Number);
  const [, length, keyValueHeads] = k.shape.map(Number);
  if (!sameShape(mask.shape, [batch, length])) {
    throw new LinnetError('SHAPE', `the mask of keys must be ${formatShape([batch, length])}, got ${mask}`);
  }
  if (queryLength !== length) requireCrossing(config);
  const tokens = reshape(mask, [batch, length, 1, 1]);
  const values = mul(v, tokens);
  const attention = attend();
  const taps = parameters['dwconv.weight'];
  const whole = makeGrouping(batch, length, length, heads, keyValueHeads);
  const filtered =
    convolutionOf(config) === null || taps === undefined ? undefined : convolvePositions(whole, values, taps, false);
  if (attention !== undefined) return filtered === undefined ? attention : add(attention, filtered);
  if (filtered !== undefined) return filtered;
  throw new LinnetError('INTERNAL', 'internal: a mixer without branches');

  function attend(): Value | undefined {
    const projected = { q, k: mul(k, tokens), v: values };
    if (config.kind === 'linformer') return linformerParallel(config, projected, parameters);
    if (config.kind === 'gau') {
      const grouping = makeGrouping(batch, length, groupOf(config), heads, keyValueHeads);
      const view = { causal: false, keyMask: mask, reduceGroups: true };
      const mixed = gauParallel(config, grouping, { q, k, v: values }, parameters, view);
      return mixed === undefined ? undefined : ungroupQueries(grouping, mixed);
    }
    const grouped = config.kind !== 'linear' || config.local !== null;
    const group = grouped && config.kind !== 'features' ? groupOf(config) : Number.POSITIVE_INFINITY;
    const queries = makeGrouping(batch, queryLength, group, heads, keyValueHeads);
    const keys = makeGrouping(batch, length, group, heads, keyValueHeads);
    const sight = wholeSight(queries, keys, mask, grouped);
    const positions = { q, k, v: values };
    const mixed =
      config.kind === 'softmax'
        ? localSoftmax(sight, groupQueries(queries, q), groupKeys(keys, k), groupKeys(keys, values))
        : config.kind === 'features'
          ? featuresOfWhole(config, sight, positions, mask, parameters)
          : config.kind === 'block-linformer'
            ? blockLinformerOfWhole(config, keys, projected, mask, parameters)
            : attendGroups(linearForm(config), sight, positions, parameters);
    return mixed === undefined ? undefined : ungroupQueries(queries, mixed);
  }
}
