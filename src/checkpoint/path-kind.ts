/** Names paths that hold no readable model (an adapter, a session, a download without weights), with the command that takes them. */
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { ErrorCode } from '../errors.ts';
import { parseJsonObject, type JsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import { readPart, readInFolder } from '../files/regular-file.ts';
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

/** A kind of path that is no model. */
export interface PathKind {
  readonly name: string;
  /** Completes "PATH is …". */
  readonly is: string;
  /** The command that takes it, or another remedy. */
  readonly advice: string;
  /** Code of the error that refuses it. Default `NOT_FOUND`. */
  readonly code?: ErrorCode;
}

/** A path as its names and small files tell it. */
interface PathFacts {
  readonly path: string;
  /** Files of a folder, or the file itself. */
  readonly names: readonly string[];
  readonly isFile: boolean;
  /** A small JSON file of the folder; {} where it is absent or no JSON object. */
  readonly json: (name: string) => Promise<JsonObject>;
  /** The first bytes of a file, as Latin-1. */
  readonly head: (name: string) => Promise<string>;
}

type Recognizer = (facts: PathFacts) => PathKind | false | Promise<PathKind | false>;

const mostJsonBytes = 1 << 20;
const headBytes = 64;

/** In order: the first that matches names the path. */
const unusableModels: readonly Recognizer[] = [
  ({ names }) =>
    names.includes(EXPORT_FILE) && {
      name: 'export',
      is: `an exported folder (${EXPORT_FILE})`,
      advice:
        'which has no weights that can be read; give the model that it was made from. generate, chat, serve, eval perplexity, ' +
        'study rules, inspect and bench take it as it is',
    },
  async ({ names, head }) => {
    const weights = names.filter((name) => /\.(safetensors|gguf)$/i.test(name) || isPickleFile(name)).slice(0, 4);
    const heads = await Promise.all(weights.map(head));
    const pointers = weights.filter((_, at) => heads[at].startsWith('version https://git-lfs.github.com/spec/'));
    return (
      pointers.length > 0 && {
        name: 'lfs-pointer',
        is: `a checkout without its large files: ${listNames(pointers)} are pointers of Git LFS, not weights`,
        advice: 'run "git lfs pull" in it, or "linnet download OWNER/NAME --out FOLDER"',
        code: 'FORMAT',
      }
    );
  },
  async ({ json }) => {
    const older = await json(QUANTIZE_FILE);
    const method = quantizedMethod({
      quantization_config: 'bits' in older ? older : undefined,
      ...(await json(CONFIG_FILE)),
    });
    return (
      method !== undefined &&
      !quantizedMethods.some((known) => known === method) && {
        name: 'quantized',
        is: `a model quantized by ${method.slice(0, 40)}, whose packed weights Linnet does not read`,
        advice:
          `take it quantized by ${quantizedMethods.join(', ')}, its GGUF, or the model that it was made from, in F32, F16 or BF16; ` +
          '"linnet export MODEL --dtype int4" quantizes it',
        code: 'CONFIG',
      }
    );
  },
];

/** The same for paths without configuration and weights of a model. */
const others: readonly Recognizer[] = [
  async ({ path, names, json }) => {
    if (!names.includes('adapter_config.json')) return false;
    const { base_model_name_or_path: base } = await json('adapter_config.json');
    const model = typeof base === 'string' ? quoteName(base) : 'MODEL';
    return {
      name: 'adapter',
      is: 'an adapter, which changes a model and is none itself',
      advice: `add it to its model with "linnet merge ${model} ${path} --out FOLDER"`,
    };
  },
  async ({ json }) =>
    (await json('run.json')).format === 'linnet-run' && {
      name: 'run',
      is: 'the record of a run (run.json), not the model that the run made',
      advice: 'the model is in the folder that --out named; of a run that was stopped, do the same again with --resume',
    },
  async ({ path, isFile }) => {
    const metadata = isFile ? await metadataOf(path) : undefined;
    if (metadata === undefined) return false;
    return metadata.get('format') === 'linnet-session'
      ? {
          name: 'session',
          is: 'a session: the state of a text under generation',
          advice: `go on with "linnet generate MODEL --session ${path}", MODEL being the one that it was saved from`,
          code: 'PATH',
        }
      : {
          name: 'weights',
          is: 'a file of safetensors, not a folder',
          advice: `a model is the folder around it, with ${CONFIG_FILE} and tokenizer`,
          code: 'PATH',
        };
  },
  ({ names, isFile }) => {
    const pickles = names.filter(isPickleFile);
    return (
      pickles.length > 0 && {
        name: 'pickle',
        is: `weights in Python's pickle format: ${listNames(pickles)} may run code when loaded and are never read`,
        advice:
          'save the model as safetensors instead, in Python: ' +
          'AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)',
        code: isFile ? 'PATH' : 'NOT_FOUND',
      }
    );
  },
  ({ names }) =>
    names.some((name) => name === 'medusa.json' || name.startsWith('medusa_lm_head')) && {
      name: 'heads',
      is: 'Medusa heads without the model that they draft for',
      advice: 'put them into the folder of their model; "linnet medusa train MODEL" makes them',
    },
  ({ path, names }) => {
    const files = ['tokenizer.json', 'tokenizer.model', 'spiece.model', 'vocab.json', 'vocab.txt'];
    const weights = names.some((name) => name.endsWith(WEIGHTS_SUFFIX));
    const config = names.includes(CONFIG_FILE);
    return (
      !weights &&
      files.some((name) => names.includes(name)) && {
        name: 'tokenizer',
        is: config
          ? `a configuration and a tokenizer: it has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`
          : 'a tokenizer without a model',
        advice: `train with "linnet pretrain ${config ? join(path, CONFIG_FILE) : 'CONFIG'} --tokenizer ${path}"`,
      }
    );
  },
  ({ names }) => {
    const weights = names.filter((name) => name.endsWith(WEIGHTS_SUFFIX));
    const missing = names.includes(CONFIG_FILE) ? `${WEIGHTS_FILE} or ${INDEX_FILE}` : CONFIG_FILE;
    return (
      weights.length > 0 && {
        name: 'weights',
        is: `safetensors (${listNames(weights)}) without ${missing}`,
        advice: `put ${missing} of the model next to them`,
      }
    );
  },
  async ({ path, names, isFile }) => {
    if (isFile || names.includes(CONFIG_FILE)) return false;
    const models: string[] = [];
    for (const name of names.slice(0, 200)) {
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

/**
 * The kind of a path that is not a readable model.
 * @returns undefined for models, missing paths and unknown kinds
 */
export async function recognizePath(given: string): Promise<PathKind | undefined> {
  const path = resolve(given);
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile() !== true && stats?.isDirectory() !== true) return undefined;
  const isFile = stats.isFile();
  const names = isFile ? [basename(path)] : await readdir(path).catch((): string[] => []);
  const facts: PathFacts = {
    path,
    names,
    isFile,
    async json(name) {
      if (isFile || !names.includes(name)) return {};
      const bytes = await readInFolder(path, name, mostJsonBytes).catch(() => undefined);
      try {
        return bytes === undefined ? {} : parseJsonObject(bytes, name);
      } catch {
        return {};
      }
    },
    head: (name) => headOf(isFile ? path : join(path, name)),
  };
  const hasModel = names.includes(CONFIG_FILE) && (names.includes(WEIGHTS_FILE) || names.includes(INDEX_FILE));
  for (const recognize of hasModel ? unusableModels : [...unusableModels, ...others]) {
    const kind = await recognize(facts);
    if (kind !== false) return kind;
  }
  return undefined;
}

async function headOf(path: string): Promise<string> {
  if ((await stat(path).catch(() => undefined))?.isFile() !== true) return '';
  await using handle = await open(path, 'r').catch(() => undefined);
  if (handle === undefined) return '';
  const head = Buffer.alloc(headBytes);
  return head.toString('latin1', 0, await readPart(handle, head, 0, path));
}

async function metadataOf(path: string): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    await using file = await openSafetensors(path);
    return file.metadata;
  } catch {
    return undefined;
  }
}
