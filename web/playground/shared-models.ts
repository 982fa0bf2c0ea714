/** Open models in a worker, which pages may share, and the order of their work. */
import type { LanguageModel } from '../../src/web.ts';

/** A model in use. */
export interface SharedModel {
  readonly model: LanguageModel;
  /** Releases the model; the last release disposes of it. */
  readonly release: () => Promise<void>;
}

interface Held {
  readonly opened: Promise<LanguageModel>;
  users: number;
}

export class SharedModels {
  readonly #held = new Map<string, Held>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param key equal for equal models @param open called for the first of equal models */
  async take(key: string, open: () => Promise<LanguageModel>): Promise<SharedModel> {
    const held = this.#held.get(key) ?? { opened: open(), users: 0 };
    this.#held.set(key, held);
    held.users++;
    const release = async (): Promise<void> => {
      if (--held.users > 0) return;
      if (this.#held.get(key) === held) this.#held.delete(key);
      await (await held.opened).dispose();
    };
    try {
      return { model: await held.opened, release };
    } catch (error) {
      if (this.#held.get(key) === held) this.#held.delete(key);
      throw error;
    }
  }

  /** Runs work one at a time, because an engine takes one step at a time. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
