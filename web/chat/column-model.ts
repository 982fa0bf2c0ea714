/** One column: a conversation, its settings, and the answer under way. Views subscribe and receive snapshots. */
import { addCallPiece } from './answer-stream.ts';
import { FactsOfAnswer, type LiveFacts, noFacts } from './live-facts.ts';
import {
  addTurn,
  type Call,
  changeTurn,
  type ConversationTree,
  emptyConversation,
  mergeConversations,
  newKey,
  pathTo,
  showTurn,
} from './conversation.ts';
import type { ContinuationRequest, Server, ServerFacts } from './server.ts';
import type { KeptConversation } from './kept-conversations.ts';
import { defaultSettings, type Settings } from './settings.ts';

/** The server's session to continue from. */
export interface OpenedSession {
  readonly id: string;
  readonly text: string;
}

export interface ColumnSnapshot {
  /** The reader's name for it; empty without one. */
  readonly name: string;
  readonly conversation: ConversationTree;
  readonly settings: Settings;
  readonly session: OpenedSession | undefined;
  /** The turn being written. */
  readonly writing: number | undefined;
  readonly facts: LiveFacts;
}

export interface ColumnStart {
  /** Key of a saved conversation. */
  readonly key?: string;
  readonly name?: string;
  readonly conversation?: ConversationTree;
  readonly settings?: Partial<Settings>;
  readonly session?: OpenedSession;
}

/** Milliseconds between snapshots while an answer streams in; screens show no more. */
const flushEvery = 50;

export class ColumnModel {
  readonly id: number;
  /** Key of the kept conversation. */
  readonly key: string;
  readonly chat: boolean;
  /** Settings of a new column. */
  readonly defaults: Settings;
  #snapshot: ColumnSnapshot;
  #abort: AbortController | undefined;
  readonly #watchers = new Set<() => void>();

  /**
   * @param chat whether the model has a chat template; sessions are continued as plain text regardless
   * @param advised sampling of a new column
   */
  constructor(id: number, chat: boolean, start: ColumnStart = {}, advised: ServerFacts['advised'] = {}) {
    const { key = newKey(), name = '', conversation = emptyConversation, settings, session } = start;
    this.id = id;
    this.key = key;
    this.chat = chat && session === undefined;
    this.defaults = { ...defaultSettings, ...advised, markdown: this.chat };
    this.#snapshot = {
      name,
      conversation,
      settings: { ...this.defaults, ...settings },
      session,
      writing: undefined,
      facts: noFacts,
    };
  }

  get snapshot(): ColumnSnapshot {
    return this.#snapshot;
  }

  /** Calls `changed` after every change. @returns a function that unsubscribes */
  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  setName(name: string): void {
    this.#change({ name });
  }

  setSettings(settings: Settings): void {
    this.#change({ settings });
  }

  /** The conversation as stored; an answer under way counts as cut off until it is whole. */
  kept(): KeptConversation {
    const { name, settings, session, writing } = this.#snapshot;
    let { conversation } = this.#snapshot;
    if (writing !== undefined) conversation = changeTurn(conversation, writing, { finish: 'left' });
    return { key: this.key, changed: Date.now(), name, conversation, settings, session: session?.id };
  }

  /** Adds another tab's turns. */
  merge(other: ConversationTree): void {
    const conversation = mergeConversations(this.#snapshot.conversation, other);
    if (conversation !== this.#snapshot.conversation) this.#change({ conversation });
  }

  /** Shows another branch. Current writing continues. */
  show(turn: number): void {
    this.#change({ conversation: showTurn(this.#snapshot.conversation, turn) });
  }

  /** Adds the reader's text and requests an answer; without a text, continues the conversation. */
  async send(server: Server, text: string): Promise<void> {
    const { conversation, writing } = this.#snapshot;
    if (writing !== undefined) return;
    if (text === '') await this.#answer(server, conversation, conversation.leaf);
    else await this.#ask(server, text, conversation.leaf);
  }

  /** Requests an answer to a changed text, in a branch next to the reader's turn. */
  async edit(server: Server, turn: number, text: string): Promise<void> {
    const { conversation, writing } = this.#snapshot;
    if (writing === undefined) await this.#ask(server, text, conversation.turns[turn].parent);
  }

  /** Writes a model's turn again, as an alternative. */
  async again(server: Server, turn: number): Promise<void> {
    const { conversation, writing } = this.#snapshot;
    if (writing !== undefined) return;
    await this.#answer(server, conversation, conversation.turns[turn].parent);
  }

  /** Sends the results of a turn's calls, one each, and has the model go on. */
  async giveResults(server: Server, turn: number, results: readonly string[]): Promise<void> {
    const { conversation, writing } = this.#snapshot;
    if (writing !== undefined) return;
    const given = addTurn(conversation, turn, { author: 'tool', text: results.join('\n'), results });
    await this.#answer(server, given, given.leaf);
  }

  stop(): void {
    this.#abort?.abort();
  }

  /** The request for the path to `leaf`; default: the shown one. */
  question(leaf = this.#snapshot.conversation.leaf, conversation = this.#snapshot.conversation): ContinuationRequest {
    const { settings, session } = this.#snapshot;
    return { path: pathTo(conversation, leaf), settings, chat: this.chat, session: session?.id };
  }

  async #ask(server: Server, text: string, parent: number | undefined): Promise<void> {
    const asked = addTurn(this.#snapshot.conversation, parent, { author: 'user', text });
    await this.#answer(server, asked, asked.leaf);
  }

  async #answer(server: Server, before: ConversationTree, parent: number | undefined): Promise<void> {
    const question = this.question(parent, before);
    const started = addTurn(before, parent, { author: 'model', text: '' });
    const turn = started.turns.length - 1;
    const facts = new FactsOfAnswer(this.#snapshot.facts);
    const abort = new AbortController();
    this.#abort = abort;
    this.#change({ conversation: started, writing: turn, facts: facts.facts });
    let [text, thoughts] = ['', ''];
    let calls: readonly Call[] = [];
    let flushed = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const written = () => ({ text, calls, ...(thoughts !== '' && { thoughts }) });
    const flush = (): void => {
      timer = undefined;
      flushed = performance.now();
      this.#change({
        conversation: changeTurn(this.#snapshot.conversation, turn, written()),
        facts: facts.facts,
      });
    };
    let outcome: Parameters<typeof changeTurn>[2] = {};
    try {
      for await (const piece of server.answer(question, abort.signal)) {
        text += piece.text;
        thoughts += piece.thoughts;
        calls = piece.calls.reduce(addCallPiece, calls);
        facts.take(piece, performance.now());
        if (piece.finish !== undefined) {
          const { finish, tokensPerSecond, written, rounds } = piece;
          outcome = { finish, tokensPerSecond, tokens: written, rounds };
        }
        timer ??= setTimeout(flush, Math.max(0, flushed + flushEvery - performance.now()));
      }
    } catch (error) {
      // When the page is left, requests fail before `pagehide` handlers have run; a task later they have.
      await new Promise((next) => setTimeout(next));
      outcome = abort.signal.aborted
        ? { finish: 'stopped' }
        : { finish: 'failed', problem: error instanceof Error ? error.message : String(error) };
    } finally {
      clearTimeout(timer);
      this.#abort = undefined;
      const { conversation } = this.#snapshot;
      this.#change({
        conversation: changeTurn(conversation, turn, { ...written(), ...outcome }),
        writing: undefined,
        facts: facts.facts,
      });
    }
  }

  #change(change: Partial<ColumnSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const changed of this.#watchers) changed();
  }
}
