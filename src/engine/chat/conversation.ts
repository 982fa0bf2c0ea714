/** A conversation with a model in one process: turns on one state, which can be undone, forked and saved. */
import { generate } from '../generate.ts';
import type { Generation } from '../text-job.ts';
import { Sampler, type SamplerInput } from '../../decoding/sampler.ts';
import { restoreSession, saveSession } from '../../decoding/state/session-file.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { LinnetError } from '../../errors.ts';
import type { TextModel } from '../text-model.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import { leadsTo, preparePrompt } from '../prompt.ts';

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
  readonly #sampler: Sampler;
  /** From the beginning to where the conversation is. */
  #moments: readonly Moment[];
  readonly #forks = new Map<string, readonly Moment[]>();

  constructor(model: TextModel, options: ConversationOptions) {
    this.#model = model;
    this.#options = options;
    this.#sampler = new Sampler(options.sampling);
    const messages = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
    this.#moments = [{ messages, complete: true, tokens: [], state: model.engine.newState() }];
  }

  /** Takes up a saved session. @throws LinnetError as `restoreSession` */
  async load(path: string): Promise<void> {
    const { state, tokens } = await restoreSession(path, this.#model.engine, this.#model.fingerprint);
    this.#moments = [{ messages: [], complete: false, tokens: [...tokens], state }];
  }

  /** Saves the session. @throws LinnetError as `saveSession` */
  async save(path: string): Promise<void> {
    const { state, tokens } = this.#now;
    const { fingerprint } = this.#model;
    await saveSession(path, { state, tokens, sampler: this.#sampler.random.state, fingerprint });
  }

  /** Says something and gives out the answer as it comes. The answer of a turn that the signal ends is kept as it is. */
  async *say(content: string, signal: AbortSignal): AsyncGenerator<string, Generation, undefined> {
    const { engine, tokenizer, template } = this.#model;
    const now = this.#now;
    const messages = [...now.messages, { role: 'user', content }];
    const promptTokens = this.#prompt(now, messages);
    const options = { promptTokens, sampler: this.#sampler, tokenizer, signal, maxTokens: this.#options.maxTokens };
    for await (const event of generate(engine, { ...options, state: this.#stateFor(promptTokens) })) {
      if (event.type === 'tokens') yield event.text;
      if (event.type !== 'end') continue;
      const { text, tokens, state } = event.generation;
      const said = template === undefined ? messages : [...messages, { role: 'assistant', content: text }];
      const next = { messages: said, complete: now.complete, tokens: [...promptTokens, ...tokens], state };
      this.#moments = [...this.#moments, next];
      return event.generation;
    }
    throw new LinnetError('INTERNAL', 'internal: a turn ended without an end');
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
  #prompt(now: Moment, messages: readonly ChatMessage[]): readonly number[] {
    const latest = messages.slice(-1);
    const { template } = this.#model;
    if (template === undefined) return preparePrompt(this.#model, { text: latest[0].content }, { after: now }).tokens;
    if (now.complete) return preparePrompt(this.#model, { messages }).tokens;
    return preparePrompt(this.#model, { messages: latest }, { after: now }).tokens;
  }

  /** A copy of the latest state that has read a prefix of the tokens: a template may rewrite earlier messages. */
  #stateFor(tokens: readonly number[]): SequenceState {
    const usable = this.#moments.findLast((moment) => leadsTo(moment, tokens));
    return usable?.state.fork() ?? this.#model.engine.newState();
  }
}
