/** A model folder's tokenizer and chat template. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { TEMPLATE_FOLDER, templateFilesOf } from '../checkpoint/folder-files.ts';
import { type Companions, ggufCompanions } from '../checkpoint/gguf/companions.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import { readInFolder } from '../files/regular-file.ts';
import { ifFound, LinnetError } from '../errors.ts';
import type { ChatTemplate } from './chat-template.ts';
import { findChatTemplate, type TemplateFiles } from './chat-template-sources.ts';
import { EncodingThread } from './encoding-thread.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import type { LaterEncoder } from './later-encoding.ts';
import { timeLimit } from './time-limit.ts';
import type { EncodeOptions, Tokenizer } from './text-tokens.ts';
import { isBertFolder, wordPieceJson } from './word-piece.ts';
import { requirePath } from '../files/arguments.ts';

export type { EncodeOptions, Tokenizer };

/** Size limits of the files read, in bytes. The largest tokenizers in use (256K tokens) take about 35 MB. */
const maximumBytes = { tokenizer: 128 << 20, config: 16 << 20 } as const;

/**
 * Loads a Hugging Face model folder's tokenizer: `tokenizer.json` and, if present,
 * `tokenizer_config.json` (special tokens' names) and `config.json` (their ids, if unnamed). In a BERT
 * folder without tokenizer.json, `vocab.txt` takes its place.
 * @throws LinnetError `NOT_FOUND` without a tokenizer, `FORMAT` if a file is malformed or too large, `PATH` if one is not a
 * regular file of the folder.
 * @example
 * ```ts
 * const tokenizer = await loadTokenizer('assets/tiny-llama');
 * const tokens = tokenizer.encode('The state', { bos: true });
 * ```
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  return await loadSameTokenizer(folder, undefined);
}

/** The same, for files with a given digest. @throws LinnetError `MISMATCH` for other files */
export async function loadSameTokenizer(folder: string, digest: string | undefined): Promise<Tokenizer> {
  requirePath(folder, 'the folder');
  const packed = await ggufCompanions(folder);
  const hash = createHash('sha256').update(packed?.version ?? '');
  const read = async (name: string, limit: number): Promise<Buffer | undefined> => {
    const text = packed?.texts.get(name);
    const bytes = packed === undefined ? await ifFound(readInFolder(folder, name, limit)) : bytesOf(text);
    hash.update(`${name} ${bytes?.length}\n`).update(bytes ?? '');
    return bytes;
  };
  const readJson = async (name: string, limit: number): Promise<JsonObject | undefined> => {
    const made = packed?.json.get(name);
    if (made !== undefined) return made;
    const bytes = await read(name, limit);
    return bytes && parseJsonObject(bytes, join(folder, name));
  };
  const tokenizerJson = await readJson('tokenizer.json', maximumBytes.tokenizer);
  const tokenizerConfigJson = await readJson('tokenizer_config.json', maximumBytes.config);
  const modelConfigJson = await readJson('config.json', maximumBytes.config);
  const isBert = tokenizerJson === undefined && isBertFolder(tokenizerConfigJson, modelConfigJson);
  const vocabulary = isBert ? await read('vocab.txt', maximumBytes.tokenizer) : undefined;
  const origin = join(folder, isBert ? 'vocab.txt' : 'tokenizer.json');
  const json = tokenizerJson ?? (vocabulary && wordPieceJson(vocabulary, tokenizerConfigJson ?? {}, origin));
  if (json === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${folder} has no tokenizer.json; copy its model's tokenizer.json and tokenizer_config.json there, or give token ids if the ` +
        'command takes them (--prompt-tokens)',
    );
  }
  const found = hash.digest('hex');
  if (digest !== undefined && digest !== found) {
    throw new LinnetError('MISMATCH', `the tokenizer in ${folder} has changed since it was loaded; start again`);
  }
  return huggingFaceTokenizer({
    tokenizerJson: json,
    tokenizerConfigJson,
    modelConfigJson,
    origin,
    timeLimit: timeLimit(),
    later: laterEncoder(resolve(folder), found),
  });
}

function bytesOf(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text);
}

/** One thread for all tokenizers. */
const thread = new EncodingThread();

function laterEncoder(folder: string, digest: string): LaterEncoder {
  return { name: digest, encode: (text, follows, signal) => thread.encode({ folder, digest, text, follows }, signal) };
}

/**
 * A Hugging Face folder's chat template (`findChatTemplate`); undefined for none.
 * @throws LinnetError `FORMAT` if it is malformed or too long, `PATH` if a file is not a regular file of the folder
 */
export async function readChatTemplate(folder: string, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  const packed = await ggufCompanions(folder, { tokenizer: false });
  return findChatTemplate(packed === undefined ? templatesIn(folder) : templatesOf(packed, folder), tokenizer);
}

/** A GGUF file's chat templates. */
function templatesOf({ texts }: Companions, path: string): TemplateFiles {
  const begin = `${TEMPLATE_FOLDER}/`;
  const additional = [...texts].filter(([name]) => name.startsWith(begin));
  return {
    read: (name) => Promise.resolve(bytesOf(texts.get(name))),
    nameOf: () => path,
    additional: () =>
      Promise.resolve(
        Object.fromEntries(additional.map(([name, text]) => [name.slice(begin.length, -'.jinja'.length), text])),
      ),
  };
}

/** The files in a folder that may hold chat templates. */
export function templatesIn(folder: string): TemplateFiles {
  return {
    read: (name) => ifFound(readInFolder(folder, name, maximumBytes.config)),
    nameOf: (name) => join(folder, name),
    additional: () => additionalSources(join(folder, TEMPLATE_FOLDER)),
  };
}

async function additionalSources(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder).catch((): string[] => []);
  const sources: Record<string, string> = {};
  for (const name of templateFilesOf(names)) {
    const bytes = await readInFolder(folder, name, maximumBytes.config);
    sources[name.slice(0, -'.jinja'.length)] = bytes.toString('utf8');
  }
  return sources;
}
