/**
 * Conversations as tokens, by a model folder's chat template (Jinja, run by `@huggingface/jinja`). A template writes control
 * tokens by name. Nothing people write may become one: "</s>" in a message stays the characters it is written with, so that
 * nobody can end a turn or speak as the system. So a mark splits the names in all values given to a template, and is removed
 * from the text between the template's control tokens.
 */
import { LinnetError, reasonOf } from '../errors.ts';
import { ControlNames, type KnownTexts, textTokens } from './encode-text.ts';
import { JinjaTemplate } from './jinja-template.ts';
import type { Tokenizer } from './text-tokens.ts';
import type { JsonObject } from '../files/json-object.ts';

/** One turn of a conversation. */
export interface ChatMessage {
  /** A role that the template knows, commonly "system", "user" or "assistant". */
  readonly role: string;
  readonly content: string;
  /** The parts that `content` joins, for templates that separate them. */
  readonly parts?: readonly { readonly type: 'text'; readonly text: string }[];
  readonly name?: string;
  /** The assistant's thoughts before its text, under each name that templates use. */
  readonly reasoning_content?: string;
  readonly thinking?: string;
  /** Functions that an assistant calls, in the API's form. */
  readonly tool_calls?: readonly unknown[];
  /** The call that a message of role "tool" answers. */
  readonly tool_call_id?: string;
}

/** Template values besides the messages. */
export interface TemplateOptions {
  /** Whether to end where the assistant's answer begins. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Functions the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Texts the answer may rest on. */
  readonly documents?: readonly unknown[];
  /** Writes a message's calls as text, for templates that do not. */
  readonly calls?: (calls: readonly unknown[]) => string;
  /** Variables of this model's template. */
  readonly variables?: JsonObject;
  /** Tokens of one user's texts, whose messages come again every turn. Default: encodes every text. */
  readonly memory?: KnownTexts;
}

/** Comparisons of a message part's type in templates: these types are read. */
const readTypes = /\btype(?:['"]\])?\s*==\s*['"](text|thinking)['"]/g;

/** Deepest nesting of template values. */
const mostDepth = 64;

/** A model's chat template. */
export class ChatTemplate {
  /** The template for conversations without tools. */
  readonly source: string;
  readonly #sources: Readonly<Record<string, string>>;
  readonly #origin: string;
  readonly #tokenizer: Tokenizer;
  readonly #names: ControlNames;
  /** Message part types that the templates know. */
  readonly #parts: ReadonlySet<string>;
  readonly #parsed = new Map<string, JinjaTemplate>();

  /**
   * @param sources templates by name: "default", and commonly "tool_use" for conversations with tools; or a single one
   * @param origin its name in errors
   */
  constructor(sources: string | Readonly<Record<string, string>>, tokenizer: Tokenizer, origin = 'the model') {
    this.#sources = typeof sources === 'string' ? { default: sources } : sources;
    this.source = this.#sources.default;
    this.#origin = origin;
    this.#tokenizer = tokenizer;
    this.#names = new ControlNames(tokenizer);
    const types = Object.values(this.#sources).flatMap((source) => [...source.matchAll(readTypes)]);
    this.#parts = new Set(types.map(([, type]) => type));
  }

  /** Whether a template contains a text. */
  has(text: string): boolean {
    return Object.values(this.#sources).some((source) => source.includes(text));
  }

  /** Parses the templates now rather than at first use. @throws LinnetError `FORMAT` for an invalid one */
  check(): this {
    for (const source of Object.values(this.#sources)) this.#parse(source);
    return this;
  }

  /** The template's text for messages. @throws LinnetError `INPUT` if it refuses them, `FORMAT` like `check` */
  render(messages: readonly ChatMessage[], options: TemplateOptions = {}): string {
    return this.#render({ messages, ...given(options) }, options);
  }

  /**
   * The token ids of the rendered text.
   * @throws LinnetError `INPUT` for no messages and if the template refuses them, `FORMAT` like `check`
   */
  encode(messages: readonly ChatMessage[], options: TemplateOptions = {}): number[] {
    const values = { messages, ...given(options) };
    const mark = unusedCharacter(JSON.stringify(values));
    const parts = this.#names.split(this.#render(this.#guarded(values, mark, 0), options));
    const texts = parts.map((part) => (typeof part === 'number' ? part : part.replaceAll(mark, '')));
    return textTokens(this.#tokenizer, texts, { bos: false, memory: options.memory });
  }

  /** A copy without any control token's name in its texts. */
  #guarded<T>(value: T, mark: string, depth: number): T;
  #guarded(value: unknown, mark: string, depth: number): unknown {
    if (typeof value === 'string') return this.#names.breakApart(value, mark);
    if (typeof value !== 'object' || value === null) return value;
    if (depth > mostDepth) throw new LinnetError('INPUT', `the conversation is nested more than ${mostDepth} deep`);
    if (Array.isArray(value)) return value.map((entry: unknown) => this.#guarded(entry, mark, depth + 1));
    const entries = Object.entries(value).map(
      ([key, entry]) => [this.#names.breakApart(key, mark), this.#guarded<unknown>(entry, mark, depth + 1)] as const,
    );
    return Object.fromEntries(entries);
  }

  #render(values: Values, { addGenerationPrompt = true, tools, calls }: TemplateOptions): string {
    if (values.messages.length === 0) throw new LinnetError('INPUT', 'a conversation needs at least one message');
    const named = tools !== undefined && Object.hasOwn(this.#sources, 'tool_use') ? 'tool_use' : 'default';
    const template = this.#parse(this.#sources[named]);
    try {
      return template.render({
        ...values,
        messages: values.messages.map((message) => this.#withParts(this.#withCalls(message, calls))),
        add_generation_prompt: addGenerationPrompt,
        bos_token: this.#names.of(this.#tokenizer.bosId),
        eos_token: this.#names.of(this.#tokenizer.eosId),
      });
    } catch (cause) {
      throw new LinnetError('INPUT', `the chat template of ${this.#origin} refuses the messages: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  /**
   * A message as the template reads it: with its parts, thoughts included, instead of the joined text if the template knows
   * them.
   */
  #withParts({ parts, ...message }: ChatMessage): JsonObject {
    const { thinking, content } = message;
    const texts = this.#parts.has('text') ? parts : undefined;
    if (thinking === undefined || !this.#parts.has('thinking')) return { ...message, content: texts ?? content };
    const text = content === '' ? [] : [{ type: 'text', text: content }];
    return { ...message, content: [{ type: 'thinking', thinking }, ...(texts ?? text)] };
  }

  #withCalls(message: ChatMessage, calls: TemplateOptions['calls']): ChatMessage {
    const { tool_calls: made, ...rest } = message;
    if (made === undefined || calls === undefined || this.has('tool_calls')) return { ...message };
    const { parts: _, ...joined } = rest;
    return { ...joined, content: message.content + calls(made) };
  }

  #parse(source: string): JinjaTemplate {
    const known = this.#parsed.get(source);
    if (known !== undefined) return known;
    try {
      const parsed = new JinjaTemplate(source);
      this.#parsed.set(source, parsed);
      return parsed;
    } catch (cause) {
      throw new LinnetError('FORMAT', `the chat template of ${this.#origin} is not valid: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }
}

/** Untrusted template values from the caller. */
interface Values extends JsonObject {
  readonly messages: readonly ChatMessage[];
}

function given({ tools, documents, variables }: TemplateOptions): JsonObject {
  return { ...variables, ...(tools !== undefined && { tools }), ...(documents !== undefined && { documents }) };
}

/** A private-use character that does not occur in a text. */
function unusedCharacter(text: string): string {
  for (let code = 0xe000; code < 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (!text.includes(character)) return character;
  }
  throw new LinnetError('INPUT', 'the messages use every character of the private-use area');
}
