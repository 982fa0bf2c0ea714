/**
 * Prompts as tokens: the one rule for BOS, sources' EOS, chat templates, control-token names, a text's leading blank, and empty
 * prompts.
 *
 * - A text gets the control tokens that the tokenizer's files put before texts (`Tokenizer.before`), not those after it, since
 *   it continues. Token ids are taken unchanged; messages go through the chat template.
 * - An empty prompt is BOS.
 * - A text after another has neither BOS nor the blank that SentencePiece tokenizers put before texts.
 * - An encoder-decoder model reads the prompt, with EOS, and writes its own text, which begins with its start token.
 */
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import { LinnetError } from '../errors.ts';
import type { ChatMessage, ChatTemplate, TemplateOptions } from '../tokenizer/chat-template.ts';
import { tokenKind, type TextEncoding, textTokens } from '../tokenizer/encode-text.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { requireText, requireTokens } from '../files/arguments.ts';

/** Input to continue or answer. */
export type PromptInput =
  | {
      readonly text: string;
      /** Whether names of control tokens in it are read as those tokens. Never for strangers' texts. */
      readonly special?: boolean;
    }
  | { readonly tokens: ArrayLike<number> }
  | MessagesInput;

/** A conversation, with its template's options. */
export interface MessagesInput extends TemplateOptions {
  readonly messages: readonly ChatMessage[];
  /** Whether the messages are the whole conversation, including the prefix a session has read. Default: they continue it. */
  readonly isWhole?: boolean;
}

/** A prompt as the engine reads it. */
export interface Prompt {
  /** All tokens of the text to continue, including those before this call; at least one. */
  readonly tokens: readonly number[];
  /** Tokens of the source that an encoder-decoder model reads first. */
  readonly source?: readonly number[];
  /** Lengths of prefixes that other prompts share: the system message's end. */
  readonly keepAt?: readonly number[];
}

/** The model's properties that determine how to read a prompt. */
export interface PromptReader {
  readonly decoder: Pick<AutoregressiveModel, 'bosId' | 'eosIds' | 'cross'>;
  /** Required for texts and messages. */
  readonly tokenizer?: Tokenizer;
  readonly template?: ChatTemplate;
}

/** A text, and a state that has read a prefix of it, usually all but the last token. */
export interface TextBefore {
  readonly state: SequenceState;
  readonly tokens: ArrayLike<number>;
}

/** A prompt's settings. */
export interface PromptOptions extends Pick<TextEncoding, 'bos'> {
  /** The text that the prompt continues. */
  readonly after?: Pick<TextBefore, 'tokens'>;
}

/**
 * A prompt's tokens.
 * @throws LinnetError `CONFIG` for messages to a model without a chat template, `NOT_FOUND` for texts to a model without a
 *   tokenizer, `INPUT` for an empty prompt to a model without BOS, for a second text to an encoder-decoder model, and like
 *   `ChatTemplate.encode`
 * @example
 * ```ts
 * const { tokens } = preparePrompt(model, { text: 'Once upon a time' });
 * ```
 */
export function preparePrompt(model: PromptReader, input: PromptInput, options: PromptOptions = {}): Prompt {
  const { decoder } = model;
  const before = Array.from(options.after?.tokens ?? []);
  if (decoder.cross !== undefined) return readPrompt(model, input, { ...options, before });
  const all = [...before, ...newTokens(model, input, { bos: options.bos, before })];
  const tokens = promptOf({ bosId: decoder.bosId ?? model.tokenizer?.bosId }, all);
  if (!('messages' in input) || before.length > 0) return { tokens };
  return { tokens, keepAt: systemEnd(requireTemplate(model), input, tokens) };
}

/** Whether a state is useful for a prompt: it has read a proper prefix of it. */
export function leadsTo({ state, tokens }: TextBefore, prompt: readonly number[]): boolean {
  if (state.length === 0 || state.length >= prompt.length) return false;
  for (let index = 0; index < state.length; index++) if (tokens[index] !== prompt[index]) return false;
  return true;
}

interface Beginning extends Pick<TextEncoding, 'bos'> {
  readonly before: readonly number[];
}

/** Tokens that a prompt adds to the previous text. */
function newTokens(model: PromptReader, input: PromptInput, { bos, before }: Beginning): readonly number[] {
  if ('tokens' in input) return requireTokens(input.tokens, 'the tokens');
  if ('messages' in input) {
    const written = requireTemplate(model).encode(input.messages, input);
    if (before.length === 0) return written;
    const tokenizer = requireTokenizer(model);
    // The previous turn ends as turns do, and BOS is already there.
    const ending = tokenizer.eosId === undefined || before.at(-1) === tokenizer.eosId ? [] : [tokenizer.eosId];
    return [...ending, ...(written[0] === tokenizer.bosId ? written.slice(1) : written)];
  }
  const tokenizer = requireTokenizer(model);
  const { text, special } = input;
  requireText(text, 'the text');
  return textTokens(tokenizer, text, { bos, special, follows: tokenKind(tokenizer, before.at(-1)) });
}

/** An encoder-decoder model's prompt: a source, or nothing new if a text continues. */
function readPrompt(model: PromptReader, input: PromptInput, { bos, before }: Beginning): Prompt {
  const added = newTokens(model, input, { bos: bos === true, before: [] });
  if (before.length > 0) {
    if (added.length === 0) return { tokens: before };
    throw new LinnetError('INPUT', 'the model has read its text; continue with an empty one, or begin a new session');
  }
  const [eos] = model.decoder.eosIds;
  const source = eos === undefined || added.at(-1) === eos ? added : [...added, eos];
  return { source, tokens: promptOf(model.decoder, []) };
}

/** The system message's end; other conversations share it. */
function systemEnd(template: ChatTemplate, input: MessagesInput, prompt: readonly number[]): number[] {
  if (input.messages[0].role !== 'system' || input.messages.length === 1) return [];
  try {
    const system = template.encode(input.messages.slice(0, 1), { ...input, addGenerationPrompt: false });
    const differs = system.findIndex((id, index) => prompt[index] !== id);
    return [differs < 0 ? system.length : differs];
  } catch {
    return []; // a template that refuses a lone system message
  }
}

function requireTokenizer({ tokenizer }: PromptReader): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new LinnetError('NOT_FOUND', 'the model has no tokenizer: give token ids');
}

function requireTemplate({ template }: PromptReader): ChatTemplate {
  if (template !== undefined) return template;
  throw new LinnetError(
    'CONFIG',
    'the model has no chat template, which makes a prompt of messages: give it a text to continue, or a template (the setting chatTemplate)',
  );
}

/**
 * A copy of a prompt; BOS if it is empty.
 * @throws LinnetError `INPUT` for an empty prompt to a model without BOS
 */
export function promptOf({ bosId }: Pick<AutoregressiveModel, 'bosId'>, tokens: ArrayLike<number>): number[] {
  const prompt = requireTokens(tokens, 'promptTokens');
  if (prompt.length > 0) return prompt;
  if (bosId !== undefined) return [bosId];
  throw new LinnetError('INPUT', 'the prompt is empty and the model has no BOS token to start from; give some text');
}
