/** Finds a model's chat template among its folder's files, on disk or behind a URL. */
import { LinnetError } from '../errors.ts';
import { isJsonObject, parseJsonObject } from '../files/json-object.ts';
import type { ChatTemplate } from './chat-template.ts';
import type { Tokenizer } from './text-tokens.ts';

/** Files that hold chat templates; the first with one wins. */
export const templateFiles = ['chat_template.jinja', 'chat_template.json', 'tokenizer_config.json'] as const;

/** Longest template run; those in use have up to 20,000 characters. */
const mostCharacters = 1 << 18;

/** A model's files, wherever they are. */
export interface TemplateFiles {
  /** Undefined if the file does not exist. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** A file's name in errors. */
  nameOf(name: string): string;
  /** The templates in folder `additional_chat_templates`, by name. */
  additional?(): Promise<Readonly<Record<string, string>>>;
}

/**
 * A model's chat template: `chat_template.jinja`, or "chat_template" in `chat_template.json` or `tokenizer_config.json`;
 * undefined for none.
 * @throws LinnetError `FORMAT` if it is malformed or too long
 */
export async function findChatTemplate(files: TemplateFiles, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  const found = await findTemplates(files);
  return found && (await openChatTemplate(found.templates, tokenizer, found.origin));
}

/** The templates by name, one of them "default", and their file's name in errors. @throws LinnetError `FORMAT` */
export async function findTemplates(
  files: TemplateFiles,
): Promise<{ readonly templates: Readonly<Record<string, string>>; readonly origin: string } | undefined> {
  for (const file of templateFiles) {
    const bytes = await files.read(file);
    const origin = files.nameOf(file);
    const found = bytes && (file.endsWith('.jinja') ? new TextDecoder().decode(bytes) : configured(bytes, origin));
    if (found === undefined) continue;
    const templates = typeof found === 'string' ? { default: found, ...(await files.additional?.()) } : found;
    return { templates, origin };
  }
  return undefined;
}

/** Opens a template given as text. @throws LinnetError `FORMAT` if it is too long */
export async function openChatTemplate(
  sources: string | Readonly<Record<string, string>>,
  tokenizer: Tokenizer,
  origin: string,
): Promise<ChatTemplate> {
  for (const { length } of typeof sources === 'string' ? [sources] : Object.values(sources)) {
    if (length <= mostCharacters) continue;
    throw new LinnetError('FORMAT', `the chat template of ${origin} has ${length} characters, which is too many`);
  }
  // Load the template library with the first template.
  const { ChatTemplate } = await import('./chat-template.ts');
  return new ChatTemplate(sources, tokenizer, origin);
}

/** A configuration's template, or named templates. */
function configured(bytes: Uint8Array, origin: string): string | Readonly<Record<string, string>> | undefined {
  const { chat_template: given } = parseJsonObject(bytes, origin);
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string') return given;
  const named = (Array.isArray(given) ? given : []).filter(isJsonObject).flatMap(({ name, template }) => {
    return typeof name === 'string' && typeof template === 'string' ? [[name, template] as const] : [];
  });
  if (named.some(([name]) => name === 'default')) return Object.fromEntries(named);
  throw new LinnetError('FORMAT', `"chat_template" of ${origin} is neither a template nor a list with a default one`);
}
