/** A conversation with a model in one process: turns on one state, which can be undone, forked and saved. */
import { Runner } from '../runner.ts';
import type { Generation } from '../text-job.ts';
import { Sampler, type SamplerInput } from '../../decoding/sampler.ts';
import { restoreSession, saveSession } from '../../decoding/state/session-file.ts';
import type { SavedLearning } from '../../decoding/speculation/drafters/registry.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { internalError, LinnetError } from '../../errors.ts';
import type { TextModel } from '../text-model.ts';
import type { RandomState } from '../../random.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import { leadsTo, type MessagesInput, preparePrompt } from '../prompt.ts';
import { CalledAnswer, type MadeCall } from '../tools/call-reader.ts';
import { ToolCalls } from '../tools/tool-calls.ts';
import type { ToolFunction } from '../tools/tool-formats.ts';
import { templateCall, withTools } from '../tools/tool-messages.ts';

/** Where a conversation is. Never changed: a turn makes a new one. */
interface Moment {
  readonly messages: readonly ChatMessage[];
  /** Whether `messages` is all that was said: not so where a session was taken up. */
  readonly complete: boolean;
  readonly tokens: readonly number[];
  readonly state: SequenceState;
}

/** How answers are written. */
export interface ConversationOptions {
  readonly maxTokens: number;
  readonly sampling: SamplerInput;
  readonly system?: string;
  /** Functions that the model may call. Default: none. */
  readonly tools?: readonly ToolFunction[];
  /** How it writes calls. Default: by its chat template. */
  readonly toolFormat?: string;
  /** Functions of which the answer to the user must call one. Default: it may call any. */
  readonly required?: readonly ToolFunction[];
}

/** An answer. */
export interface ConversationAnswer extends Generation {
  /** Functions that it calls, all their arguments there; `answerCalls` goes on with the results. */
  readonly calls: readonly MadeCall[];
}

/** Size of a conversation, and the names of its forks. */
export interface ConversationState {
  readonly tokens: number;
  readonly stateBytes: number;
  readonly turns: number;
  readonly forks: readonly string[];
}

export class Conversation {
  readonly #model: TextModel;
  readonly #options: ConversationOptions;
  readonly #tools: readonly ToolFunction[];
  readonly #calls: ToolCalls | undefined;
  #random: RandomState;
  /** Of the session that was taken up, which stays in it. */
  #learned: SavedLearning | undefined;
  /** From the beginning to where the conversation is. */
  #moments: readonly Moment[];
  readonly #forks = new Map<string, readonly Moment[]>();

  /** @throws LinnetError `CONFIG` for functions and a model without a chat template, or a format that is not known */
  constructor(model: TextModel, options: ConversationOptions) {
    this.#model = model;
    this.#options = options;
    this.#tools = options.tools ?? [];
    if (this.#tools.length > 0) {
      if (model.template !== undefined) this.#calls = new ToolCalls(model, options.toolFormat);
      else throw new LinnetError('CONFIG', 'the model has no chat template, which says how functions are called');
    }
    this.#random = new Sampler(options.sampling).random.state;
    const messages = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
    this.#moments = [{ messages, complete: true, tokens: [], state: model.engine.newState() }];
  }

  /** Takes up a saved session. @throws LinnetError as `restoreSession` */
  async load(path: string): Promise<void> {
    const { state, tokens, sampler, learned } = await restoreSession(path, this.#model.engine, this.#model.fingerprint);
    this.#random = sampler ?? this.#random;
    this.#learned = learned;
    this.#moments = [{ messages: [], complete: false, tokens: [...tokens], state }];
  }

  /** Saves the session. @throws LinnetError as `saveSession` */
  async save(path: string): Promise<void> {
    const { state, tokens } = this.#now;
    const { fingerprint } = this.#model;
    await saveSession(path, { state, tokens, sampler: this.#random, learned: this.#learned, fingerprint });
  }

  /**
   * Says something and gives out the answer as it comes, calls left out. The answer of a turn that the signal ends is kept as it is.
   * @throws LinnetError as `Runner.submit`, `preparePrompt` and `toolGrammar`
   */
  async *say(content: string, signal: AbortSignal): AsyncGenerator<string, ConversationAnswer, undefined> {
    const { required } = this.#options;
    const rules = { tools: required ?? this.#tools, required: required !== undefined };
    return yield* this.#turn(this.#moments, [{ role: 'user', content }], rules, signal);
  }

  /** Goes on with the results of the calls of the last turn, which become part of it. Texts and errors as `say`. */
  async *answerCalls(
    results: readonly { readonly call: MadeCall; readonly content: string }[],
    signal: AbortSignal,
  ): AsyncGenerator<string, ConversationAnswer, undefined> {
    const messages = results.map(({ call: { callId, name }, content }) => {
      return { role: 'tool', content, name, tool_call_id: callId };
    });
    const rules = { tools: this.#tools, required: false };
    return yield* this.#turn(this.#moments.slice(0, -1), messages, rules, signal);
  }

  /** @param before the turns that this one follows */
  async *#turn(
    before: readonly Moment[],
    added: readonly ChatMessage[],
    rules: { readonly tools: readonly ToolFunction[]; readonly required: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<string, ConversationAnswer, undefined> {
    const { engine, tokenizer, template } = this.#model;
    const { maxTokens, sampling } = this.#options;
    const now = this.#now;
    const promptTokens = this.#prompt(now, added);
    const job = { prompt: { tokens: promptTokens }, maxTokens, sampling, random: this.#random, signal };
    const held = this.#calls?.held({ ...rules, parallel: true });
    const answer = new CalledAnswer(this.#calls?.reader(rules));
    const runner = new Runner(engine, { tokenizer, parallel: 1 });
    for await (const event of runner.submit({ ...job, ...held, state: this.#stateFor(promptTokens) })) {
      const parts = event.type === 'tokens' ? answer.push(event.text) : event.type === 'end' ? answer.end() : [];
      for (const part of parts) if (part.type === 'text') yield part.text;
      if (event.type !== 'end') continue;
      const { generation, sampler } = event;
      this.#random = sampler.random.state;
      const calls = answer.isCut || signal.aborted ? [] : answer.calls;
      const said = [...now.messages, ...added];
      if (template !== undefined) said.push(messageOf(calls.length > 0 ? answer.content : generation.text, calls));
      const { tokens, state } = generation;
      const next = { messages: said, complete: now.complete, tokens: [...promptTokens, ...tokens], state };
      this.#moments = [...before, next];
      return { ...generation, calls };
    }
    throw internalError('a turn ended without an end');
  }

  /** Takes back the last turn. Whether there was one. */
  undo(): boolean {
    if (this.#moments.length < 2) return false;
    this.#moments = this.#moments.slice(0, -1);
    return true;
  }

  /** Keeps the conversation as it is under a name; it goes on all the same. */
  fork(name: string): void {
    this.#forks.set(name, this.#moments);
  }

  /** Goes to a fork, which stays. Whether there is one of that name. */
  switchTo(name: string): boolean {
    const moments = this.#forks.get(name);
    if (moments !== undefined) this.#moments = moments;
    return moments !== undefined;
  }

  get state(): ConversationState {
    const { tokens, state } = this.#now;
    const forks = [...this.#forks.keys()];
    return { tokens: tokens.length, stateBytes: state.bytes, turns: this.#moments.length - 1, forks };
  }

  get #now(): Moment {
    return this.#moments[this.#moments.length - 1];
  }

  /** All that the model is to have read. Without a template the text simply goes on; of a session only the tokens are known. */
  #prompt(now: Moment, added: readonly ChatMessage[]): readonly number[] {
    if (this.#model.template === undefined) {
      return preparePrompt(this.#model, { text: added[0].content }, { after: now }).tokens;
    }
    if (now.complete) return preparePrompt(this.#model, this.#input([...now.messages, ...added], this.#tools)).tokens;
    const tools = now.messages.length === 0 ? this.#tools : [];
    return preparePrompt(this.#model, this.#input(added, tools), { after: now }).tokens;
  }

  #input(messages: readonly ChatMessage[], tools: readonly ToolFunction[]): MessagesInput {
    return this.#calls === undefined ? { messages } : withTools({ messages }, this.#calls.format, tools);
  }

  /** A copy of the latest state that has read a prefix of the tokens: a template may rewrite earlier messages. */
  #stateFor(tokens: readonly number[]): SequenceState {
    const usable = this.#moments.findLast((moment) => leadsTo(moment, tokens));
    return usable?.state.fork() ?? this.#model.engine.newState();
  }
}

function messageOf(content: string, calls: readonly MadeCall[]): ChatMessage {
  if (calls.length === 0) return { role: 'assistant', content };
  const made = calls.map(({ callId: id, name, json }) => templateCall({ id, name, arguments: json }));
  return { role: 'assistant', content, tool_calls: made };
}
