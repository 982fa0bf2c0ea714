/**
 * Names of GPT-2's tensors. Parameters are named as in checkpoints of the language model ("transformer.h.0.…"); the
 * mixers' own have the names they have in every family (`global_factor` for α, `dwconv.weight` for the filter weights).
 */

/** The prefix that checkpoints of the bare backbone, such as the first ones published, leave out. */
const prefix = 'transformer.';
const withoutPrefix = /^(wte|wpe|ln_f|h\.\d+)\./;

/** Causal masks that were stored as buffers. */
const buffers = /^transformer\.h\.\d+\.attn\.(bias|masked_bias)$/;

/** The names in linearized checkpoints of the paper's code; it also has a second filter that it never uses. */
const paperMixers: Readonly<Record<string, string | undefined>> = {
  alpha: 'global_factor',
  'dconv_ada.weight': 'dwconv.weight',
  'dconv_ada2.weight': undefined,
};
const attentionTensor = /^(transformer\.h\.\d+\.attn)\.(.+)$/;

/**
 * The parameter that a stored tensor is; undefined for stored masks, a tied head's copy and the unused filter of the
 * paper's checkpoints. Names that are not GPT-2's are given back as they are.
 */
export function gpt2ParameterName(stored: string, tiedHead: boolean): string | undefined {
  if (tiedHead && stored === 'lm_head.weight') return undefined;
  const name = withoutPrefix.test(stored) ? prefix + stored : stored;
  if (buffers.test(name)) return undefined;
  const [, attention, rest = ''] = attentionTensor.exec(name) ?? [];
  if (!Object.hasOwn(paperMixers, rest)) return name;
  const renamed = paperMixers[rest];
  return renamed === undefined ? undefined : `${attention}.${renamed}`;
}
