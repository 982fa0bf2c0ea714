/**
 * Conversations that outlive the page: one entry each in the browser's local storage, under the model's
 * name. Stored values are untrusted; unreadable entries are skipped.
 */
import { recordOf } from './answer-stream.ts';
import { type ConversationTree, shownPath } from './conversation.ts';
import { readConversation, writeConversation } from './conversation-file.ts';
import { defaultSettings, type Settings } from './settings.ts';

export interface KeptConversation {
  readonly key: string;
  /** The reader's name for it; empty if none. */
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly changed: number;
  readonly conversation: ConversationTree;
  readonly settings: Settings;
  /** Id of the session before all turns. */
  readonly session: string | undefined;
}

/** The part of the browser's `Storage` used here. */
export type KeyValueStorage = Pick<Storage, 'length' | 'key' | 'getItem' | 'setItem' | 'removeItem'>;

/** A browser storage; one in memory if the browser blocks it. */
export function browserStorage(name: 'localStorage' | 'sessionStorage'): KeyValueStorage {
  try {
    return globalThis[name];
  } catch {
    return memoryStorage();
  }
}

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
  readonly #columns: string;
  readonly #storage: KeyValueStorage;
  readonly #tab: KeyValueStorage;

  /** @param tab storage of this tab's session */
  constructor(model: string, storage: KeyValueStorage, tab: KeyValueStorage) {
    this.#prefix = `linnet-conversation:${encodeURIComponent(model)}:`;
    this.#columns = `linnet-columns:${encodeURIComponent(model)}`;
    this.#storage = storage;
    this.#tab = tab;
  }

  /** All conversations, most recently changed first. */
  list(): KeptConversation[] {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? '');
    return keys.flatMap((key) => this.find(this.keyOf(key)) ?? []).sort((a, b) => b.changed - a.changed);
  }

  /** Key of the conversation under a storage key; undefined for other entries. */
  keyOf(storageKey: string): string | undefined {
    return storageKey.startsWith(this.#prefix) ? storageKey.slice(this.#prefix.length) : undefined;
  }

  /** @throws Error if the browser has no room or stores nothing */
  keep({ key, name, changed, conversation, settings, session }: KeptConversation): void {
    const text = writeConversation({ conversation, system: settings.system });
    this.#storage.setItem(this.#prefix + key, JSON.stringify({ name, changed, settings, session, text }));
  }

  remove(key: string): void {
    this.#storage.removeItem(this.#prefix + key);
  }

  /** Conversations in this tab's columns, left to right; a new tab takes those of the tab used last. */
  shown(): KeptConversation[] {
    const keys = this.#tab.getItem(this.#columns) ?? this.#storage.getItem(this.#columns) ?? '';
    return keys.split(' ').flatMap((key) => this.find(key) ?? []);
  }

  /** @throws Error See `keep` */
  keepShown(keys: readonly string[]): void {
    for (const storage of [this.#tab, this.#storage]) storage.setItem(this.#columns, keys.join(' '));
  }

  find(key: string | undefined): KeptConversation | undefined {
    if (key === undefined) return undefined;
    try {
      const { name, changed, settings, session, text } = recordOf(
        JSON.parse(this.#storage.getItem(this.#prefix + key) ?? ''),
      );
      if (typeof name !== 'string' || typeof changed !== 'number' || !(Math.abs(changed) < 8.64e15)) return undefined;
      const { conversation, system } = readConversation(String(text));
      return {
        ...{ key, name, changed, conversation },
        settings: { ...readSettings(recordOf(settings)), system },
        session: typeof session === 'string' ? session : undefined,
      };
    } catch {
      return undefined;
    }
  }
}

/** Stored settings; defaults replace those of the wrong type. */
function readSettings(stored: Readonly<Record<string, unknown>>): Settings {
  const fit = Object.entries(stored).filter(
    ([name, value]) =>
      (name === 'seed' && typeof value === 'number') ||
      (Object.hasOwn(defaultSettings, name) && typeof value === typeof Reflect.get(defaultSettings, name)),
  );
  return { ...defaultSettings, ...Object.fromEntries(fit) };
}

/** A conversation's name, or the first words of the shown branch. */
export function titleOf({ name, conversation }: Pick<KeptConversation, 'name' | 'conversation'>): string {
  const words = shownPath(conversation).at(0)?.text.trim().replaceAll(/\s+/g, ' ') ?? '';
  return name !== '' ? name : words.length > 60 ? `${words.slice(0, 60)}…` : words;
}

/** A new title with the first free number in front, since lists cut titles at the end. */
export function numberedTitle(title: string, others: readonly string[]): string {
  const stem = title.replace(/^\(\d+\) /, '');
  for (let number = 2; ; number++) {
    const name = `(${number}) ${stem}`;
    if (!others.includes(name)) return name;
  }
}
