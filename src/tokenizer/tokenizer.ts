/** The tokenizer of a model folder. */
import { join } from 'node:path';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import { readInFolder } from '../files/regular-file.ts';
import { LinnetError } from '../errors.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { timeLimit } from './time-limit.ts';
import type { EncodeOptions, Tokenizer } from './text-tokens.ts';
import { isBertFolder, wordPieceJson } from './word-piece.ts';
import { requirePath } from '../files/arguments.ts';

export type { EncodeOptions, Tokenizer };

/** Upper bounds of the files read, in bytes. The largest tokenizers in use (256K tokens) take about 35 MB. */
const maximumBytes = { tokenizer: 128 << 20, config: 16 << 20 } as const;

/**
 * Loads the tokenizer of a Hugging Face model folder: `tokenizer.json`, and if they are there
 * `tokenizer_config.json` (names of the special tokens) and `config.json` (their ids, where no name is given). In a BERT
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
  requirePath(folder, 'the folder');
  const tokenizerJson = await readOptionalJson(folder, 'tokenizer.json', maximumBytes.tokenizer);
  const tokenizerConfigJson = await readOptionalJson(folder, 'tokenizer_config.json', maximumBytes.config);
  const modelConfigJson = await readOptionalJson(folder, 'config.json', maximumBytes.config);
  const others = { tokenizerConfigJson, modelConfigJson, timeLimit: timeLimit() };
  if (tokenizerJson !== undefined) {
    return huggingFaceTokenizer({ tokenizerJson, ...others, origin: join(folder, 'tokenizer.json') });
  }
  const vocabulary = isBertFolder(tokenizerConfigJson, modelConfigJson)
    ? await readOptional(folder, 'vocab.txt', maximumBytes.tokenizer)
    : undefined;
  if (vocabulary === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${folder} has no tokenizer.json; copy tokenizer.json and tokenizer_config.json of its model there, or give token ids where a ` +
        'command takes them (--set promptTokens)',
    );
  }
  const origin = join(folder, 'vocab.txt');
  return huggingFaceTokenizer({
    tokenizerJson: wordPieceJson(vocabulary, tokenizerConfigJson ?? {}, origin),
    ...others,
    origin,
  });
}

async function readOptionalJson(folder: string, name: string, limit: number): Promise<JsonObject | undefined> {
  const bytes = await readOptional(folder, name, limit);
  return bytes === undefined ? undefined : parseJsonObject(bytes, join(folder, name));
}

async function readOptional(folder: string, name: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readInFolder(folder, name, limit);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
