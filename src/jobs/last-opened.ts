/** Keeps the last opened resource open, such as the model of consecutive jobs; opening another closes it first. */
export class LastOpened<T extends AsyncDisposable> implements AsyncDisposable {
  #last: { readonly key: string; readonly thing: T } | undefined;

  /** The resource open under the key, else the one from `open`. */
  async open(key: string, open: () => Promise<T>): Promise<T> {
    if (this.#last?.key === key) return this.#last.thing;
    await this[Symbol.asyncDispose]();
    const thing = await open();
    this.#last = { key, thing };
    return thing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const last = this.#last;
    this.#last = undefined;
    await last?.thing[Symbol.asyncDispose]();
  }
}
