/** Answers of /v1/responses that later requests go on from: messages, state, and what was answered. */
import { LRUCache } from 'lru-cache';
import type { SavedSession } from '../../decoding/state/session-file.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';

/** One answer and all that led to it. */
export interface StoredResponse {
  readonly owner: string;
  /** The conversation, with the answer, without instructions. */
  readonly messages: readonly ChatMessage[];
  /** Text and state at its end. */
  readonly session: SavedSession;
  /** As it was answered. */
  readonly body: object;
}

/** Keeps answers for a while. */
export interface ResponseStore {
  /** The answer; undefined where there is none of this owner, or none any more. */
  get(owner: string, id: string): Promise<StoredResponse | undefined>;
  /** Keeps an answer, which is not to change. */
  add(id: string, response: StoredResponse): Promise<void>;
  /** Whether there was one. */
  remove(owner: string, id: string): Promise<boolean>;
}

/** In memory, as many as there is room for. */
export class MemoryResponses implements ResponseStore {
  readonly #entries: LRUCache<string, StoredResponse>;

  /** @param maxBytes of states and messages; the least recently used ones go first */
  constructor(maxBytes: number) {
    this.#entries = new LRUCache<string, StoredResponse>({
      max: 100_000,
      maxSize: Math.max(1, maxBytes),
      sizeCalculation: bytesOf,
    });
  }

  get(owner: string, id: string): Promise<StoredResponse | undefined> {
    const found = this.#entries.get(id);
    return Promise.resolve(found?.owner === owner ? found : undefined);
  }

  add(id: string, response: StoredResponse): Promise<void> {
    this.#entries.set(id, response);
    return Promise.resolve();
  }

  remove(owner: string, id: string): Promise<boolean> {
    return Promise.resolve(this.#entries.peek(id)?.owner === owner && this.#entries.delete(id));
  }
}

function bytesOf({ messages, session }: StoredResponse): number {
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
  return 1024 + session.state.bytes + 8 * session.tokens.length + 4 * characters;
}
