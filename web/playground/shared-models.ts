/** The models that are open in a worker, which pages may share, and the order of what they compute. */
import type { LanguageModel } from '../../src/web.ts';

/** A model in use. */
export interface SharedModel {
  readonly model: LanguageModel;
  /** Gives it back: it is disposed of when nobody uses it. */
  readonly release: () => Promise<void>;
}

interface Held {
  readonly opened: Promise<LanguageModel>;
  users: number;
}

export class SharedModels {
  readonly #held = new Map<string, Held>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param key equal for equal models; `open` is called for the first of them */
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

  /** Works one after the other: an engine takes one step at a time. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
