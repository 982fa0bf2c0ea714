/**
 * Recognizes paths without a readable model (an adapter, a session, a download without weights), and names the command that
 * takes them.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { ErrorCode } from '../errors.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import { beginsWith, readInFolder } from '../files/regular-file.ts';
import {
  CONFIG_FILE,
  EXPORT_FILE,
  INDEX_FILE,
  isPickleFile,
  QUANTIZE_FILE,
  WEIGHTS_FILE,
  WEIGHTS_SUFFIX,
} from './folder-files.ts';
import { quantizedMethod, quantizedMethods } from './quantized/config.ts';
import { openSafetensors } from './safetensors/reader.ts';

/**
 * A kind of path that is not a model: `is` completes "PATH is …", `advice` names the command that takes it, or another
 * remedy.
 */
function kind(name: string, is: string, advice: string, code: ErrorCode = 'NOT_FOUND') {
  return { name, is, advice, code };
}

export type PathKind = ReturnType<typeof kind>;

/** How a file of Git LFS begins that stands for a large one. */
const pointerStart = 'version https://git-lfs.github.com/spec/';

/**
 * The kind of a path that is not a readable model, by its names and small files; the first match.
 * @returns undefined for models, missing paths and unknown kinds
 */
export async function recognizePath(given: string): Promise<PathKind | undefined> {
  const path = resolve(given);
  const stats = await stat(path).catch(() => undefined);
  const isFile = stats?.isFile() === true;
  if (!isFile && stats?.isDirectory() !== true) return undefined;
  const names = isFile ? [basename(path)] : await readdir(path).catch((): string[] => []);
  const has = (name: string): boolean => names.includes(name);
  const json = async (name: string): Promise<JsonObject> => {
    try {
      return isFile || !has(name) ? {} : parseJsonObject(await readInFolder(path, name, 1 << 20), name);
    } catch {
      return {};
    }
  };
  if (has(EXPORT_FILE)) {
    return kind(
      'export',
      `an exported folder (${EXPORT_FILE})`,
      'its weights cannot be read back; give the model it was made from. generate, chat, serve, check, inspect, ' +
        'bench, study rules, eval perplexity, agreement and tasks take it directly',
    );
  }
  const weights = names.filter((name) => name.endsWith(WEIGHTS_SUFFIX));
  const pickles = names.filter(isPickleFile);
  const pointers: string[] = [];
  for (const name of names.filter((known) => /\.(safetensors|gguf)$/i.test(known) || isPickleFile(known)).slice(0, 4)) {
    const file = isFile ? path : join(path, name);
    if (await beginsWith(file, pointerStart).catch(() => false)) pointers.push(name);
  }
  if (pointers.length > 0) {
    return kind(
      'lfs-pointer',
      `a checkout without its large files: ${listNames(pointers)} are pointers of Git LFS, not weights`,
      'run "git lfs pull" in it, or "linnet download OWNER/NAME --out FOLDER"',
      'FORMAT',
    );
  }
  const older = await json(QUANTIZE_FILE);
  const method = quantizedMethod({
    quantization_config: 'bits' in older ? older : undefined,
    ...(await json(CONFIG_FILE)),
  });
  if (method !== undefined && !quantizedMethods.some((known) => known === method)) {
    return kind(
      'quantized',
      `a model quantized by ${method.slice(0, 40)}, whose packed weights Linnet does not read`,
      `take it quantized by ${quantizedMethods.join(', ')}, its GGUF, or the model that it was made from, in F32, F16 or BF16; ` +
        '"linnet export MODEL --dtype int4" quantizes it',
      'CONFIG',
    );
  }
  const config = has(CONFIG_FILE);
  if (config && (has(WEIGHTS_FILE) || has(INDEX_FILE))) return undefined;
  if (has('adapter_config.json')) {
    const { base_model_name_or_path: base } = await json('adapter_config.json');
    return kind(
      'adapter',
      'an adapter, not a model',
      `add it to its model with "linnet merge ${typeof base === 'string' ? quoteName(base) : 'MODEL'} ${path} --out FOLDER"`,
    );
  }
  if ((await json('run.json')).format === 'linnet-run') {
    return kind(
      'run',
      'the record of a run (run.json), not the model that the run made',
      'the model is in the folder given by --out; if the run was stopped, repeat the command with --resume',
    );
  }
  const metadata = isFile ? await metadataOf(path) : undefined;
  if (metadata?.get('format') === 'linnet-session') {
    return kind(
      'session',
      'a session: the state of a text under generation',
      `continue it with "linnet generate MODEL --session ${path}", where MODEL is the model it was saved from`,
      'PATH',
    );
  }
  if (metadata !== undefined) {
    return kind(
      'weights',
      'a file of safetensors, not a folder',
      `a model is the folder around it, with ${CONFIG_FILE} and tokenizer`,
      'PATH',
    );
  }
  if (pickles.length > 0) {
    return kind(
      'pickle',
      `weights in Python's pickle format: ${listNames(pickles)} may run code when loaded and are never read`,
      'save the model as safetensors instead, in Python: ' +
        'AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)',
      isFile ? 'PATH' : 'NOT_FOUND',
    );
  }
  if (names.some((name) => name === 'medusa.json' || name.startsWith('medusa_lm_head'))) {
    return kind(
      'heads',
      'Medusa heads without the model that they draft for',
      'put them into the folder of their model; "linnet medusa train MODEL" makes them',
    );
  }
  if (
    weights.length === 0 &&
    ['tokenizer.json', 'tokenizer.model', 'spiece.model', 'vocab.json', 'vocab.txt'].some(has)
  ) {
    return kind(
      'tokenizer',
      config
        ? `a configuration and a tokenizer: it has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`
        : 'a tokenizer without a model',
      `train with "linnet pretrain ${config ? join(path, CONFIG_FILE) : 'CONFIG'} --tokenizer ${path}"`,
    );
  }
  if (weights.length > 0) {
    const missing = config ? `${WEIGHTS_FILE} or ${INDEX_FILE}` : CONFIG_FILE;
    return kind(
      'weights',
      `safetensors (${listNames(weights)}) without ${missing}`,
      `put ${missing} of the model next to them`,
    );
  }
  if (isFile || config) return undefined;
  const models: string[] = [];
  for (const name of names.slice(0, 200)) {
    const inside = await stat(join(path, name, CONFIG_FILE)).catch(() => undefined);
    if (inside?.isFile() === true) models.push(name);
  }
  if (models.length === 0) return undefined;
  return kind(
    'models',
    `a folder of models, not a model: ${listNames(models)}`,
    `give one of them, such as ${join(path, models[0])}`,
  );
}

async function metadataOf(path: string): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    await using file = await openSafetensors(path);
    return file.metadata;
  } catch {
    return undefined;
  }
}
