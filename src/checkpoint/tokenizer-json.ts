/** Fields common to all tokenizer.json files made here. */

/** A token to look for in texts. */
export function addedToken(id: number | undefined, content: string, special: boolean) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

/** Every file's fields, without vocabulary and steps. */
export const bareTokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  normalizer: null,
  post_processor: null,
};

/** A byte-pair model without vocabulary and merges. */
export const bytePairModel = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
};
