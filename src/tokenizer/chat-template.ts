/**
 * Conversations as tokens, by the chat template of a model folder (Jinja, run by `@huggingface/jinja`).
 *
 * A template writes control tokens by their names. What people write must not become one: "</s>" in a message stays the
 * characters it is written with. So the template is run over stand-ins of the messages, its text is taken apart at the
 * names of special tokens, and then the messages are put in.
 */
import { LinnetError } from '../errors.ts';
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import type { Tokenizer } from './tokenizer.ts';

/** One turn of a conversation. */
export interface ChatMessage {
  /** Commonly "system", "user" or "assistant"; what the template knows. */
  readonly role: string;
  readonly content: string;
}

/** A chat template and where it comes from. */
export interface ChatTemplate {
  readonly source: string;
  /** How errors name it. */
  readonly origin: string;
}

/** Options of `chatTokens`. */
export interface ChatOptions {
  /** End with what begins an answer. Default true. */
  readonly answer?: boolean;
}

/** The longest template that is run; those in use have up to 20,000 characters. */
const maximumCharacters = 1 << 18;

/**
 * The template of a tokenizer_config.json: one, or the one named "default" of several.
 * @throws LinnetError `FORMAT` if it has another form
 */
export function configuredTemplate(config: JsonObject, origin: string): ChatTemplate | undefined {
  const given = config.chat_template;
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string') return checkedTemplate(given, origin);
  const named = Array.isArray(given) ? given.filter(isJsonObject).find(({ name }) => name === 'default') : undefined;
  if (typeof named?.template === 'string') return checkedTemplate(named.template, origin);
  throw new LinnetError('FORMAT', `"chat_template" of ${origin} is neither a template nor a list with a default one`);
}

/** A template as text. @throws LinnetError `FORMAT` if it is longer than any real one */
export function checkedTemplate(source: string, origin: string): ChatTemplate {
  if (source.length <= maximumCharacters) return { source, origin };
  throw new LinnetError('FORMAT', `the chat template of ${origin} has ${source.length} characters: too many`);
}

/**
 * Tokens of a conversation, ready to be answered.
 *
 * @throws LinnetError `INPUT` for no messages, messages that the template refuses, or a message with the name of a
 *   control token in it where the template changes messages; `FORMAT` for a template that is not valid
 * @example
 * ```ts
 * const tokens = await chatTokens(template, tokenizer, [{ role: 'user', content: 'Hello' }]);
 * ```
 */
export async function chatTokens(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): Promise<Int32Array> {
  if (messages.length === 0) throw new LinnetError('INPUT', 'a conversation needs at least one message');
  const render = await rendererOf(template, tokenizer, options);
  const wanted = render(messages);
  const names = tokenizer.specialNames ?? new Map<string, number>();
  for (const contents of [messages.map(({ content }) => content), messages.map(({ content }) => content.trim())]) {
    const text = render(messages.map(({ role }, index) => ({ role, content: standIn(index) })));
    if (filled(text, contents) !== wanted) continue; // the template does something else with messages
    return encoded(splitAtNames(text, names), tokenizer, (part) => filled(part, contents));
  }
  const foreign = messages.find(({ content }) => [...names.keys()].some((name) => content.includes(name)));
  if (foreign !== undefined) {
    throw new LinnetError(
      'INPUT',
      `a message of "${foreign.role}" holds the name of a control token, and the template of ${template.origin} ` +
        'changes messages, so that both cannot be told apart; write it differently',
    );
  }
  return encoded(splitAtNames(wanted, names), tokenizer, (part) => part);
}

/**
 * Tokens of a text in which the names of control tokens are control tokens: for prompts in the notation of a model, such
 * as `<|im_start|>user`. Never for text of people who are not asked, which could then end a turn or speak as the system.
 * @example
 * ```ts
 * const tokens = encodeSpecial(tokenizer, '<s>Once upon a time');
 * ```
 */
export function encodeSpecial(tokenizer: Tokenizer, text: string): Int32Array {
  return encoded(splitAtNames(text, tokenizer.specialNames ?? new Map<string, number>()), tokenizer, (part) => part);
}

/** Private-use characters, which tokenizers' names do not have. */
function standIn(index: number): string {
  return `\uE0F0${index}\uE0F1`;
}

function filled(text: string, contents: readonly string[]): string {
  return text.replace(/\uE0F0(\d+)\uE0F1/g, (_, index: string) => contents[Number(index)] ?? '');
}

type Renderer = (messages: readonly ChatMessage[]) => string;

/** Loads the library when the first conversation needs it. */
async function rendererOf(
  { source, origin }: ChatTemplate,
  { specialNames, bosId, eosId }: Tokenizer,
  { answer = true }: ChatOptions,
): Promise<Renderer> {
  const { JinjaTemplate } = await import('./jinja-template.ts');
  const nameOf = (id: number | undefined): string =>
    [...(specialNames ?? [])].find(([, other]) => other === id)?.[0] ?? '';
  const common = { bos_token: nameOf(bosId), eos_token: nameOf(eosId), add_generation_prompt: answer };
  let template: InstanceType<typeof JinjaTemplate>;
  try {
    template = new JinjaTemplate(source);
  } catch (cause) {
    throw new LinnetError('FORMAT', `the chat template of ${origin} is not valid: ${reasonOf(cause)}`, { cause });
  }
  return (messages) => {
    try {
      return template.render({ ...common, messages: messages.map((message) => ({ ...message })) });
    } catch (cause) {
      throw new LinnetError('INPUT', `the chat template of ${origin} refuses the messages: ${reasonOf(cause)}`, {
        cause,
      });
    }
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Control tokens as ids, and the texts between them. Of names that begin at one place the longest counts. */
function splitAtNames(text: string, names: ReadonlyMap<string, number>): (string | number)[] {
  const longestFirst = [...names.keys()].filter((name) => name !== '').sort((a, b) => b.length - a.length);
  if (longestFirst.length === 0) return [text];
  const pattern = new RegExp(
    `(${longestFirst.map((name) => name.replace(/[$()*+./?[\\\]^{|}-]/g, '\\$&')).join('|')})`,
  );
  return text.split(pattern).map((part) => names.get(part) ?? part);
}

function encoded(
  parts: readonly (string | number)[],
  tokenizer: Tokenizer,
  fill: (part: string) => string,
): Int32Array {
  const tokens: number[] = [];
  for (const part of parts) {
    if (typeof part === 'number') tokens.push(part);
    else if (part !== '') for (const token of tokenizer.encode(fill(part))) tokens.push(token);
  }
  return Int32Array.from(tokens);
}
