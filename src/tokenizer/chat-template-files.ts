/** The chat template of a model folder on a disk. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LinnetError } from '../errors.ts';
import { readInFolder } from '../files/regular-file.ts';
import type { ChatTemplate } from './chat-template.ts';
import { additionalTemplates, findChatTemplate } from './chat-template-sources.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Largest file that is read, in bytes. */
const maximumBytes = 16 << 20;

/** Further templates that are read; models have one or two. */
const mostAdditional = 16;

/**
 * The chat template of a Hugging Face folder (`findChatTemplate`); undefined for none.
 * @throws LinnetError `FORMAT` if it is malformed or too long, `PATH` if a file is not a regular file of the folder
 */
export function readChatTemplate(folder: string, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  return findChatTemplate(
    {
      read: (name) => optionalFile(folder, name),
      nameOf: (name) => join(folder, name),
      additional: () => additionalSources(join(folder, additionalTemplates)),
    },
    tokenizer,
  );
}

async function additionalSources(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder).catch((): string[] => []);
  const sources: Record<string, string> = {};
  for (const name of names.filter((file) => file.endsWith('.jinja')).slice(0, mostAdditional)) {
    const bytes = await readInFolder(folder, name, maximumBytes);
    sources[name.slice(0, -'.jinja'.length)] = bytes.toString('utf8');
  }
  return sources;
}

async function optionalFile(folder: string, name: string): Promise<Buffer | undefined> {
  try {
    return await readInFolder(folder, name, maximumBytes);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
