/** A conversation with a model in one process: messages over sessions, with undo, fork and save. */
import type { SamplerInput } from '../../decoding/sampler.ts';
import type { Snapshot } from '../../decoding/state/session-format.ts';
import { LinnetError } from '../../errors.ts';
import type { RandomState } from '../../random.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import { leadsTo, type PromptInput, preparePrompt } from '../prompt.ts';
import { type Session, TextPieces } from '../session.ts';
import type { Generation } from '../text-job.ts';
import type { ThoughtPart } from '../thinking/thought-reader.ts';
import { CalledAnswer, type MadeCall } from '../tools/call-reader.ts';
import { type CallingModel, ToolCalls } from '../tools/tool-calls.ts';
import type { ToolFunction } from '../tools/tool-formats.ts';
import { templateCall, toldThoughts, withTools } from '../tools/tool-messages.ts';

/** A point in the conversation. Immutable: a turn makes a new one. */
interface Moment {
  readonly messages: readonly ChatMessage[];
  /** Whether `messages` holds everything said: false after a session was resumed. */
  readonly isComplete: boolean;
  /** Undefined before the first turn. */
  readonly snapshot?: Snapshot;
}

/** A model to talk to. */
interface TalkingModel extends CallingModel {
  session(from?: Snapshot): Session;
}

/** How to write answers. */
export interface ConversationOptions {
  readonly maxTokens: number;
  readonly sampling: SamplerInput;
  readonly system?: string;
  /** Functions the model may call. Default: none. */
  readonly tools?: readonly ToolFunction[];
  /** How it writes calls. Default: from its chat template. */
  readonly toolFormat?: string;
  /** The answer must call one of these functions. Default: calls are optional. */
  readonly required?: readonly ToolFunction[];
}

/** An answer. */
export interface ConversationAnswer extends Generation {
  /** Functions it calls, with complete arguments; `answerCalls` continues with their results. */
  readonly calls: readonly MadeCall[];
}

/** A conversation's size, and its forks' names. */
export interface ConversationState {
  readonly tokens: number;
  readonly stateBytes: number;
  readonly turns: number;
  readonly forks: readonly string[];
}

export class Conversation {
  readonly #model: TalkingModel;
  readonly #options: ConversationOptions;
  readonly #tools: readonly ToolFunction[];
  readonly #calls: ToolCalls | undefined;
  /** Random numbers continue after an undone turn, so that the next answer differs. */
  #random: RandomState | undefined;
  /** From the beginning to the current point. */
  #moments: readonly Moment[];
  readonly #forks = new Map<string, readonly Moment[]>();

  /** @throws LinnetError `CONFIG` for functions with a model that has no chat template, or for an unknown format */
  constructor(model: TalkingModel, options: ConversationOptions) {
    this.#model = model;
    this.#options = options;
    this.#tools = options.tools ?? [];
    if (this.#tools.length > 0) {
      if (model.template !== undefined) this.#calls = new ToolCalls(model, options.toolFormat);
      else throw new LinnetError('CONFIG', 'the model has no chat template, which says how functions are called');
    }
    const messages = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
    this.#moments = [{ messages, isComplete: true }];
  }

  /** Resumes a saved session. @throws LinnetError like `Session.load` */
  async load(path: string): Promise<void> {
    const session = this.#model.session();
    await session.load(path);
    const snapshot = session.snapshot();
    this.#random = snapshot.random ?? this.#random;
    this.#moments = [{ messages: [], isComplete: false, snapshot }];
  }

  /** Saves the session. @throws LinnetError like `Session.save` */
  async save(path: string): Promise<void> {
    const { snapshot } = this.#now;
    await this.#model.session(snapshot && { ...snapshot, random: this.#random }).save(path);
  }

  /**
   * Says something and yields the answer as it arrives, without calls. If the signal ends a turn, its partial answer stays.
   * @throws LinnetError like `Runner.submit`, `preparePrompt` and `toolGrammar`
   */
  async *say(content: string, signal: AbortSignal): AsyncGenerator<ThoughtPart, ConversationAnswer, undefined> {
    const { required } = this.#options;
    const rules = { tools: required ?? this.#tools, required: required !== undefined };
    return yield* this.#turn(this.#moments, [{ role: 'user', content }], rules, signal);
  }

  /** Continues with the results of the last turn's calls, which become part of it. Texts and errors like `say`. */
  async *answerCalls(
    results: readonly { readonly call: MadeCall; readonly content: string }[],
    signal: AbortSignal,
  ): AsyncGenerator<ThoughtPart, ConversationAnswer, undefined> {
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
  ): AsyncGenerator<ThoughtPart, ConversationAnswer, undefined> {
    const { maxTokens, sampling } = this.#options;
    const now = this.#now;
    const input = this.#input(now, added);
    const held = this.#calls?.held({ ...rules, parallel: true });
    const answer = new CalledAnswer(this.#calls?.reader(rules));
    const session = this.#model.session((now.isComplete ? this.#lastLeadingTo(input) : now).snapshot);
    const options = { ...sampling, random: this.#random, maxTokens, signal, ...held };
    const pieces = new TextPieces(session, input, options);
    for await (const part of pieces.parts()) {
      const told = part.type === 'thought' ? [part] : answer.push(part.text);
      for (const each of told) if (each.type === 'text' || each.type === 'thought') yield each;
    }
    for (const part of answer.end()) if (part.type === 'text') yield part;
    const { generation } = pieces;
    const snapshot = session.snapshot();
    this.#random = snapshot.random;
    const calls = answer.isCut || signal.aborted ? [] : answer.calls;
    const messages = [...now.messages, ...added];
    if (this.#model.template !== undefined) {
      const content = calls.length > 0 ? answer.content : generation.text;
      messages.push({ ...messageOf(content, calls), ...toldThoughts(generation.thoughts) });
    }
    this.#moments = [...before, { messages, isComplete: now.isComplete, snapshot }];
    return { ...generation, calls };
  }

  /** Undoes the last turn. Returns whether there was one. */
  undo(): boolean {
    if (this.#moments.length < 2) return false;
    this.#moments = this.#moments.slice(0, -1);
    return true;
  }

  /** Keeps a copy of the conversation under a name and continues. */
  fork(name: string): void {
    this.#forks.set(name, this.#moments);
  }

  /** Switches to a fork, which stays. Returns whether it exists. */
  switchTo(name: string): boolean {
    const moments = this.#forks.get(name);
    if (moments !== undefined) this.#moments = moments;
    return moments !== undefined;
  }

  get state(): ConversationState {
    const { snapshot } = this.#now;
    const forks = [...this.#forks.keys()];
    const [tokens, stateBytes] = [snapshot?.tokens.length ?? 0, snapshot?.state.bytes ?? 0];
    return { tokens, stateBytes, turns: this.#moments.length - 1, forks };
  }

  get #now(): Moment {
    return this.#moments[this.#moments.length - 1];
  }

  /** Everything said. Without a template the text simply continues; of a resumed session only the tokens are known. */
  #input({ messages: said, isComplete }: Moment, added: readonly ChatMessage[]): PromptInput {
    if (this.#model.template === undefined) return { text: added[0].content };
    const messages = isComplete ? [...said, ...added] : added;
    const input = { messages, isWhole: isComplete };
    if (this.#calls === undefined) return input;
    return withTools(input, this.#calls.format, isComplete || said.length === 0 ? this.#tools : []);
  }

  /** The latest moment whose state has read a prefix of the prompt: a template may rewrite earlier messages. */
  #lastLeadingTo(input: PromptInput): Pick<Moment, 'snapshot'> {
    if (!('messages' in input)) return this.#now;
    const { tokens } = preparePrompt(this.#model, input);
    return this.#moments.findLast(({ snapshot }) => snapshot !== undefined && leadsTo(snapshot, tokens)) ?? {};
  }
}

function messageOf(content: string, calls: readonly MadeCall[]): ChatMessage {
  if (calls.length === 0) return { role: 'assistant', content };
  const made = calls.map(({ callId: id, name, json }) => templateCall({ id, name, arguments: json }));
  return { role: 'assistant', content, tool_calls: made };
}
