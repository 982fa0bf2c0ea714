/**
 * Recognizes paths that hold no readable model: an adapter, a session, an unfinished download, weights in another format.
 * A command that is given one in place of a model names its kind and the command that takes it.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import type { ErrorCode } from '../errors.ts';
import { parseJsonObject, type JsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import { readInFolder } from '../files/regular-file.ts';
import { CONFIG_FILE, EXPORT_FILE, INDEX_FILE, isPickleFile, WEIGHTS_FILE, WEIGHTS_SUFFIX } from './folder-files.ts';
import { openSafetensors } from './safetensors/reader.ts';

/** Machine-readable names of the recognized kinds. */
export type PathKindName =
  | 'adapter'
  | 'export'
  | 'heads'
  | 'lfs-pointer'
  | 'models'
  | 'pickle'
  | 'quantized'
  | 'run'
  | 'session'
  | 'tokenizer'
  | 'weights';

/** A recognized kind of path. */
export interface PathKind {
  readonly name: PathKindName;
  /** Completes "PATH is …". */
  readonly is: string;
  /** Advice, with the command that takes it. */
  readonly advice: string;
  /** Further facts: name → value, for people. */
  readonly facts: Readonly<Record<string, string>>;
  /** Of an error that refuses it as a model. */
  readonly code: ErrorCode;
}

/** Most kinds have no further facts, and are refused as `NOT_FOUND`. */
type Recognized = Omit<PathKind, 'facts' | 'code'> & Partial<Pick<PathKind, 'facts' | 'code'>>;

/** A folder as far as names and small files tell. */
interface FolderFacts {
  readonly path: string;
  readonly names: readonly string[];
  readonly hasConfig: boolean;
  readonly hasWeights: boolean;
  /** A small JSON file of the folder; undefined where it is absent or is not JSON object. */
  readonly json: (name: string) => Promise<JsonObject | undefined>;
  /** The first bytes of a file, as Latin-1; empty where there is none. */
  readonly head: (name: string) => Promise<string>;
}

/** The kind, or a value that is none. */
type Recognizer = (folder: FolderFacts) => Recognized | false | undefined | Promise<Recognized | false | undefined>;

const mostJsonBytes = 1 << 20;
const headBytes = 64;
const lfsHead = 'version https://git-lfs.github.com/spec/';

/**
 * The kind of a file or folder that is not a readable model.
 * @returns undefined for folders with configuration and safetensors weights, for missing paths, and for unknown kinds
 */
export async function recognizePath(given: string): Promise<PathKind | undefined> {
  const found = await recognized(resolve(given));
  return found && { facts: {}, code: 'NOT_FOUND', ...found };
}

async function recognized(path: string): Promise<Recognized | undefined> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) return undefined;
  if (stats.isFile()) return recognizeFile(path);
  if (!stats.isDirectory()) return undefined;
  const names = await readdir(path).catch((): string[] => []);
  const hasConfig = names.includes(CONFIG_FILE);
  const hasWeights = names.includes(WEIGHTS_FILE) || names.includes(INDEX_FILE);
  const folder: FolderFacts = {
    ...{ path, names, hasConfig, hasWeights },
    async json(name) {
      if (!names.includes(name)) return undefined;
      return readInFolder(path, name, mostJsonBytes)
        .then((bytes) => parseJsonObject(bytes, name))
        .catch(() => undefined);
    },
    head: (name) => (names.includes(name) ? headOf(join(path, name)) : Promise.resolve('')),
  };
  for (const recognize of hasConfig && hasWeights ? wholeFolders : [...wholeFolders, ...partialFolders]) {
    const kind = await recognize(folder);
    if (kind) return kind;
  }
  return undefined;
}

const hubAdvice = 'or fetch the model again with "linnet download OWNER/NAME --out FOLDER"';

const lfsPointer = (files: string): Recognized => ({
  name: 'lfs-pointer',
  is: `a checkout without its large files: ${files} are pointers of Git LFS, not weights`,
  advice: `run "git lfs pull" in the checkout, ${hubAdvice}`,
  code: 'FORMAT',
});

const pickle = (files: string): Recognized => ({
  name: 'pickle',
  is: `weights in Python's pickle format: ${files} may run code when loaded and are never read`,
  advice:
    'save the model as safetensors instead, in Python: ' +
    'AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)',
});

const quantizationSchema = z.looseObject({ quant_method: z.string().max(40).optional(), bits: z.number().optional() });

/** Kinds of folders that may have a configuration and weights, in the order in which they are asked: the first names the folder. */
const wholeFolders: readonly Recognizer[] = [
  ({ names }) =>
    names.includes(EXPORT_FILE) && {
      name: 'export',
      is: `an exported folder (${EXPORT_FILE})`,
      advice:
        'which decodes and has no weights that can be read; give the model that it was made from. generate, chat, serve, ' +
        'eval perplexity, study rules, inspect and bench take it as it is',
    },
  async ({ names, head }) => {
    const weights = names.filter((name) => name.endsWith(WEIGHTS_SUFFIX) || isPickleFile(name));
    const pointers: string[] = [];
    // A checkout has all its large files or none; a handful says which.
    for (const name of weights.slice(0, 4)) if ((await head(name)).startsWith(lfsHead)) pointers.push(name);
    return pointers.length > 0 && lfsPointer(listNames(pointers));
  },
  async ({ json }) => {
    const config = await json(CONFIG_FILE);
    const own = quantizationSchema.safeParse(config?.quantization_config);
    const beside = quantizationSchema.safeParse(await json('quantize_config.json'));
    const found = own.success ? own.data : beside.success && config !== undefined ? beside.data : undefined;
    if (found === undefined) return undefined;
    const method = found.quant_method ?? (own.success ? 'a method that it does not name' : 'gptq');
    return {
      name: 'quantized',
      is: `a model quantized by ${method}, whose packed weights Linnet does not read`,
      advice:
        'give the model that it was made from, with weights in F32, F16 or BF16; "linnet export MODEL --dtype int4" then ' +
        'quantizes it',
      facts: { method, ...(found.bits === undefined ? {} : { bits: String(found.bits) }) },
      code: 'CONFIG',
    };
  },
];

const adapterSchema = z.looseObject({
  peft_type: z.string().max(40).optional(),
  base_model_name_or_path: z.string().max(1000).nullish(),
  r: z.number().optional(),
  lora_alpha: z.number().optional(),
});

const runSchema = z.looseObject({
  format: z.literal('linnet-run'),
  status: z.string().max(40),
  command: z.array(z.string()).max(10_000),
});

const tokenizerFiles = ['tokenizer.json', 'tokenizer.model', 'spiece.model', 'vocab.json', 'vocab.txt'];

/** Kinds of folders that lack a configuration or weights, asked after those. */
const partialFolders: readonly Recognizer[] = [
  async ({ path, names, hasWeights, json }) => {
    if (hasWeights || !names.includes('adapter_config.json')) return undefined;
    const config = adapterSchema.safeParse(await json('adapter_config.json')).data ?? {};
    const { peft_type: type = 'unknown', r, lora_alpha: alpha } = config;
    const base = config.base_model_name_or_path ?? undefined;
    return {
      name: 'adapter',
      is: 'an adapter, which changes a model and is none itself',
      advice: `add it to its model with "linnet merge ${base === undefined ? 'MODEL' : quoteName(base)} ${path} --out FOLDER"`,
      facts: {
        type,
        ...(base === undefined ? {} : { base }),
        ...(r === undefined ? {} : { rank: String(r) }),
        ...(alpha === undefined ? {} : { alpha: String(alpha) }),
      },
    };
  },
  async ({ hasWeights, json }) => {
    const run = hasWeights ? undefined : runSchema.safeParse(await json('run.json')).data;
    if (run === undefined) return undefined;
    const words = run.command.join(' ');
    return {
      name: 'run',
      is: 'the record of a run (run.json), not the model that the run made',
      advice:
        run.status === 'finished'
          ? 'the model is in the folder that --out named'
          : 'do the same again with --resume; the model will be in the folder that --out names',
      facts: { status: run.status, ...(words === '' ? {} : { command: words.slice(0, 300) }) },
    };
  },
  ({ names, hasWeights }) => {
    const pickles = names.filter(isPickleFile);
    return !hasWeights && pickles.length > 0 && pickle(listNames(pickles));
  },
  ({ names }) =>
    (names.includes('medusa.json') || names.some((name) => name.startsWith('medusa_lm_head'))) && {
      name: 'heads',
      is: 'Medusa heads without the model that they draft for',
      advice:
        'put medusa.json and medusa.safetensors into the folder of their model; "linnet medusa train MODEL" makes them',
    },
  ({ names, hasConfig }) => {
    const weights = names.filter((name) => name.endsWith(WEIGHTS_SUFFIX));
    const missing = hasConfig ? `${WEIGHTS_FILE} or ${INDEX_FILE}` : CONFIG_FILE;
    return (
      weights.length > 0 && {
        name: 'weights',
        is: `safetensors (${listNames(weights)}) without ${missing}`,
        advice: hasConfig
          ? `rename a single file to ${WEIGHTS_FILE}; of several, fetch the index that belongs to them`
          : `put ${CONFIG_FILE} of the model next to them`,
      }
    );
  },
  ({ path, names, hasConfig }) => {
    const tokenizer = names.filter((name) => tokenizerFiles.includes(name));
    return (
      tokenizer.length > 0 && {
        name: 'tokenizer',
        is: hasConfig
          ? `a configuration and a tokenizer without weights: it has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`
          : 'a tokenizer without a model',
        advice: hasConfig
          ? `train it from random weights with "linnet pretrain ${join(path, CONFIG_FILE)} --tokenizer ${path}", ${hubAdvice}`
          : `it goes into "linnet pretrain CONFIG --tokenizer ${path}"`,
        facts: { files: tokenizer.join(', ') },
      }
    );
  },
  // A folder whose subfolders are models: `runs`, or a folder of a hub's cache.
  async ({ path, names, hasConfig }) => {
    const models: string[] = [];
    for (const name of hasConfig ? [] : names.slice(0, 200)) {
      const config = await stat(join(path, name, CONFIG_FILE)).catch(() => undefined);
      if (config?.isFile() === true) models.push(name);
    }
    return (
      models.length > 0 && {
        name: 'models',
        is: `a folder of models, not a model: ${listNames(models)}`,
        advice: `give one of them, such as ${join(path, models[0])}`,
      }
    );
  },
];

/** Strings of a session's header that say something to people, and how they are called. */
const sessionFacts: Readonly<Record<string, string>> = { length: 'tokens read', fingerprint: 'of the model' };

async function recognizeFile(path: string): Promise<Recognized | undefined> {
  const name = quoteName(basename(path));
  const head = await headOf(path);
  if (head.startsWith(lfsHead)) return lfsPointer(name);
  const metadata = await metadataOf(path);
  if (metadata?.get('format') === 'linnet-session') {
    return {
      name: 'session',
      is: 'a session: the state of a text under generation',
      advice: `go on with "linnet generate MODEL --session ${path}", MODEL being the one that it was saved from`,
      facts: Object.fromEntries(
        Object.entries(sessionFacts).flatMap(([key, shown]) => {
          const value = metadata.get(key);
          return value === undefined ? [] : [[shown, value.slice(0, 100)]];
        }),
      ),
      code: 'PATH',
    };
  }
  if (metadata !== undefined) {
    return {
      name: 'weights',
      is: 'a file of safetensors, not a folder',
      advice: `a model is the folder around it, with ${CONFIG_FILE} and tokenizer`,
      code: 'PATH',
    };
  }
  return isPickleFile(basename(path)) ? { ...pickle(name), code: 'PATH' } : undefined;
}

async function headOf(path: string): Promise<string> {
  if ((await stat(path).catch(() => undefined))?.isFile() !== true) return '';
  await using handle = await open(path, 'r').catch(() => undefined);
  if (handle === undefined) return '';
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0);
  return buffer.toString('latin1', 0, bytesRead);
}

async function metadataOf(path: string): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    await using file = await openSafetensors(path);
    return file.metadata;
  } catch {
    return undefined;
  }
}
