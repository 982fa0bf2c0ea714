/** The chat template of a model folder. */
import { join } from 'node:path';
import { LinnetError } from '../errors.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { readInFolder } from '../files/regular-file.ts';
import { type ChatTemplate, checkedTemplate, configuredTemplate } from './chat-template.ts';

/** Largest file that is read, in bytes. */
const maximumBytes = 16 << 20;

/**
 * The chat template of a Hugging Face folder: chat_template.jinja, or "chat_template" of chat_template.json or of
 * tokenizer_config.json, the first of these that there is; undefined for none.
 * @throws LinnetError `FORMAT` if it is malformed or too large, `PATH` if a file is not a regular file of the folder
 * @example
 * ```ts
 * const template = await readChatTemplate('models/chat');
 * ```
 */
export async function readChatTemplate(folder: string): Promise<ChatTemplate | undefined> {
  const jinja = await optionalFile(folder, 'chat_template.jinja');
  if (jinja !== undefined) return checkedTemplate(jinja.toString('utf8'), join(folder, 'chat_template.jinja'));
  for (const name of ['chat_template.json', 'tokenizer_config.json']) {
    const bytes = await optionalFile(folder, name);
    const origin = join(folder, name);
    const template = bytes && configuredTemplate(parseJsonObject(bytes, origin), origin);
    if (template !== undefined) return template;
  }
  return undefined;
}

async function optionalFile(folder: string, name: string): Promise<Buffer | undefined> {
  try {
    return await readInFolder(folder, name, maximumBytes);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
