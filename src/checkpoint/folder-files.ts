/** Which files make up a Hugging Face model folder. */

/** The model's description. */
export const CONFIG_FILE = 'config.json';
/** How a quantized folder stores its matrices, if config.json does not say. */
export const QUANTIZE_FILE = 'quantize_config.json';
/** The weights, if in a single file. */
export const WEIGHTS_FILE = 'model.safetensors';
/** Which file holds each tensor, if there are several. */
export const INDEX_FILE = 'model.safetensors.index.json';
/** A download's origin. */
export const SOURCE_FILE = 'linnet-source.json';
/** Every weight file's extension. */
export const WEIGHTS_SUFFIX = '.safetensors';

/** An exported folder's manifest; its presence marks an export. */
export const EXPORT_FILE = 'linnet.json';

/** Files that travel with a model's weights: tokenizers of all kinds, chat template, generation defaults. */
export const COMPANION_FILES: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'vocab.txt',
  'tokenizer.model',
  'spiece.model',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
];

/** Folder of chat templates besides the default, such as `tool_use.jinja`. */
export const TEMPLATE_FOLDER = 'additional_chat_templates';

/** The additional chat templates to read; models have one or two. @param names file names in the folder */
export function templateFilesOf(names: readonly string[]): readonly string[] {
  return names.filter((name) => name.endsWith('.jinja')).slice(0, 16);
}

/** Whether a name looks like weights in Python's pickle format, which runs code when loaded. We never read it. */
export function isPickleFile(name: string): boolean {
  return /\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?$/i.test(name);
}

/** A shard's file name, counted from zero. */
export function shardFile(index: number, count: number): string {
  const digits = (n: number): string => String(n).padStart(5, '0');
  return `model-${digits(index + 1)}-of-${digits(count)}${WEIGHTS_SUFFIX}`;
}
