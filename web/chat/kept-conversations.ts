/**
 * Conversations that stay when the page is left: in the local storage of the browser, one entry each, under the name of the
 * model. What is stored may be anything; entries that cannot be read are passed over.
 */
import { recordOf } from './answer-stream.ts';
import type { ConversationTree } from './conversation.ts';
import { readConversation, writeConversation } from './conversation-file.ts';
import { defaultSettings, type Settings } from './settings.ts';

export interface KeptConversation {
  readonly key: string;
  /** As the reader called it; empty where it has no name of its own. */
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly changed: number;
  /** Whether it is shown in a column. */
  readonly open: boolean;
  readonly conversation: ConversationTree;
  readonly settings: Settings;
  /** Id of the session that comes before all turns. */
  readonly session: string | undefined;
}

/** The part of the browser's `Storage` that is used. */
export type KeyValueStorage = Pick<Storage, 'length' | 'key' | 'getItem' | 'setItem' | 'removeItem'>;

/** A key for a new conversation. Not `randomUUID`, which pages have on HTTPS and localhost alone. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join('');
}

/** The browser's local storage; where it is blocked, one that lasts as long as the page. */
export function browserStorage(): KeyValueStorage {
  try {
    return localStorage;
  } catch {
    return memoryStorage();
  }
}

/** An empty storage in memory. */
export function memoryStorage(): KeyValueStorage {
  const entries = new Map<string, string>();
  return {
    get length() {
      return entries.size;
    },
    key: (index) => [...entries.keys()][index] ?? null,
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
  };
}

export class KeptConversations {
  readonly #prefix: string;
  readonly #storage: KeyValueStorage;

  constructor(model: string, storage: KeyValueStorage) {
    this.#prefix = `linnet-conversation:${encodeURIComponent(model)}:`;
    this.#storage = storage;
  }

  /** All of them, the one that changed last first. */
  list(): KeptConversation[] {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? '');
    return keys
      .filter((key) => key.startsWith(this.#prefix))
      .flatMap((key) => this.#read(key.slice(this.#prefix.length)) ?? [])
      .sort((a, b) => b.changed - a.changed);
  }

  /** @throws Error where the browser has no room for it, or keeps nothing */
  keep({ key, name, changed, open, conversation, settings, session }: KeptConversation): void {
    const text = writeConversation({ conversation, system: settings.system });
    this.#storage.setItem(this.#prefix + key, JSON.stringify({ name, changed, open, settings, session, text }));
  }

  remove(key: string): void {
    this.#storage.removeItem(this.#prefix + key);
  }

  #read(key: string): KeptConversation | undefined {
    try {
      const { name, changed, open, settings, session, text } = recordOf(
        JSON.parse(this.#storage.getItem(this.#prefix + key) ?? ''),
      );
      if (typeof name !== 'string' || typeof changed !== 'number' || !(Math.abs(changed) < 8.64e15)) return undefined;
      const { conversation, system } = readConversation(String(text));
      return {
        ...{ key, name, changed, open: open === true, conversation },
        settings: { ...readSettings(recordOf(settings)), system },
        session: typeof session === 'string' ? session : undefined,
      };
    } catch {
      return undefined;
    }
  }
}

/** Settings of the types that they have; defaults in the place of others. */
function readSettings(stored: Readonly<Record<string, unknown>>): Settings {
  const fit = Object.entries(stored).filter(
    ([name, value]) =>
      (name === 'seed' && typeof value === 'number') ||
      (Object.hasOwn(defaultSettings, name) && typeof value === typeof Reflect.get(defaultSettings, name)),
  );
  return { ...defaultSettings, ...Object.fromEntries(fit) };
}

/** The name of a conversation, or its first words. */
export function titleOf({ name, conversation }: Pick<KeptConversation, 'name' | 'conversation'>): string {
  const words = conversation.turns[0]?.text.trim().replaceAll(/\s+/g, ' ') ?? '';
  return name !== '' ? name : words.length > 60 ? `${words.slice(0, 60)}…` : words;
}
