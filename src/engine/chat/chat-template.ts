/**
 * Chat templates: messages to token ids. A template is text that comes with the model, written in Jinja; control tokens
 * that it writes become control tokens, while their names inside a message stay the characters they are, so that no user
 * can end a turn or speak as the system.
 */
import { LinnetError } from '../../errors.ts';
import { isJsonObject, parseJsonObject } from '../../files/json-object.ts';
import { readInFolder } from '../../files/regular-file.ts';
import { JinjaTemplate } from '../../tokenizer/jinja-template.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

const maximumTemplateBytes = 1 << 20;

/** One message, its content joined to one text. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
}

/** What a template is given besides the messages. */
export interface TemplateOptions {
  /** Whether the text ends where the assistant's answer begins. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Variables of the model's own template. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

export class ChatTemplate {
  readonly source: string;
  readonly #template: JinjaTemplate;
  readonly #tokenizer: Tokenizer;
  /** Control tokens by name, the longest names first. */
  readonly #names: readonly (readonly [name: string, id: number])[];

  /** @throws LinnetError `FORMAT` for a template that cannot be parsed */
  constructor(source: string, tokenizer: Tokenizer) {
    this.source = source;
    this.#tokenizer = tokenizer;
    this.#names = [...(tokenizer.specialNames ?? [])]
      .filter(([name]) => name !== '')
      .sort(([a], [b]) => b.length - a.length);
    try {
      this.#template = new JinjaTemplate(source);
    } catch (cause) {
      throw new LinnetError('FORMAT', `the chat template cannot be parsed: ${messageOf(cause)}`, { cause });
    }
  }

  /** The text that a template makes of messages. @throws LinnetError `INPUT` where it refuses them */
  render(messages: readonly ChatMessage[], options: TemplateOptions = {}): string {
    return this.#render(messages, options);
  }

  /** The token ids of that text. @throws LinnetError `INPUT` where the template refuses the messages */
  encode(messages: readonly ChatMessage[], options: TemplateOptions = {}): number[] {
    const mark = unusedCharacter(messages);
    const guarded = messages.map((message) => ({ ...message, content: this.#guard(message.content, mark) }));
    const text = this.#render(guarded, options);
    return this.#split(text).flatMap((part) =>
      typeof part === 'number' ? [part] : [...this.#tokenizer.encode(part.replaceAll(mark, ''))],
    );
  }

  /** Breaks the names of control tokens apart. */
  #guard(content: string, mark: string): string {
    let guarded = content;
    for (const [name] of this.#names) guarded = guarded.replaceAll(name, () => name.slice(0, 1) + mark + name.slice(1));
    return guarded;
  }

  /** Cuts at the names of control tokens. */
  #split(text: string): (string | number)[] {
    let parts: (string | number)[] = [text];
    for (const [name, id] of this.#names) {
      parts = parts.flatMap((part) =>
        typeof part === 'number'
          ? [part]
          : part.split(name).flatMap((piece, index) => (index === 0 ? [piece] : [id, piece])),
      );
    }
    return parts.filter((part) => part !== '');
  }

  #render(messages: readonly ChatMessage[], { addGenerationPrompt = true, variables = {} }: TemplateOptions): string {
    const nameOf = (id: number | undefined): string => this.#names.find(([, own]) => own === id)?.[0] ?? '';
    try {
      return this.#template.render({
        ...variables,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: addGenerationPrompt,
        bos_token: nameOf(this.#tokenizer.bosId),
        eos_token: nameOf(this.#tokenizer.eosId),
      });
    } catch (cause) {
      throw new LinnetError('INPUT', `the chat template refuses the messages: ${messageOf(cause)}`, { cause });
    }
  }
}

/**
 * The template of a model folder: `chat_template.jinja`, else the one in `tokenizer_config.json`; undefined without one.
 * @throws LinnetError `FORMAT` for one that cannot be parsed
 */
export async function readChatTemplate(folder: string, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  const own = await readIfPresent(folder, 'chat_template.jinja');
  if (own !== undefined) return new ChatTemplate(own.toString('utf8'), tokenizer);
  const config = await readIfPresent(folder, 'tokenizer_config.json');
  if (config === undefined) return undefined;
  const source = namedTemplate(parseJsonObject(config, 'tokenizer_config.json').chat_template);
  return source === undefined ? undefined : new ChatTemplate(source, tokenizer);
}

/** A template, or the one called "default" of a list of named ones. */
function namedTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  for (const entry of value) {
    if (isJsonObject(entry) && entry.name === 'default' && typeof entry.template === 'string') return entry.template;
  }
  return undefined;
}

async function readIfPresent(folder: string, name: string): Promise<Buffer | undefined> {
  try {
    return await readInFolder(folder, name, maximumTemplateBytes);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** A character of the private-use area that no message holds. */
function unusedCharacter(messages: readonly ChatMessage[]): string {
  for (let code = 0xe000; code < 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (!messages.some(({ content }) => content.includes(character))) return character;
  }
  throw new LinnetError('INPUT', 'the messages use every character of the private-use area');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
