/** Which files make up a Hugging Face model folder. */

/** The model's description. */
export const CONFIG_FILE = 'config.json';
/** How the matrices of a quantized folder are stored, where its config.json does not say it. */
export const QUANTIZE_FILE = 'quantize_config.json';
/** The weights, if they are in one file. */
export const WEIGHTS_FILE = 'model.safetensors';
/** Which tensor is in which file, if the weights are in several. */
export const INDEX_FILE = 'model.safetensors.index.json';
/** Where a download came from. */
export const SOURCE_FILE = 'linnet-source.json';
/** How every file of weights must end. */
export const WEIGHTS_SUFFIX = '.safetensors';

/** The manifest of an exported folder; a folder that has it is an export. */
export const EXPORT_FILE = 'linnet.json';

/** Files next to the weights that travel with a model: tokenizers of all kinds, chat template, generation defaults. */
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

/** The folder of chat templates besides the default one, such as `tool_use.jinja`. */
export const TEMPLATE_FOLDER = 'additional_chat_templates';

/** The additional chat templates that are read; models have one or two. @param names of the files of the folder */
export function templateFilesOf(names: readonly string[]): readonly string[] {
  return names.filter((name) => name.endsWith('.jinja')).slice(0, 16);
}

/** Whether a name looks like weights in Python's pickle format, which runs code when it is loaded. We never read it. */
export function isPickleFile(name: string): boolean {
  return /\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?$/i.test(name);
}

/** The name of one of several files of weights, counted from zero. */
export function shardFile(index: number, count: number): string {
  const digits = (n: number): string => String(n).padStart(5, '0');
  return `model-${digits(index + 1)}-of-${digits(count)}${WEIGHTS_SUFFIX}`;
}
