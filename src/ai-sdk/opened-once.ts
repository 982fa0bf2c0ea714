/** A model opened once, when first needed. */
import { open, type OpenOptions } from '../open/index.ts';
import type { LanguageModel } from '../open/language-model.ts';

export abstract class OpenedOnce implements AsyncDisposable {
  readonly specificationVersion = 'v3';
  readonly provider = 'linnet';
  readonly modelId: string;
  readonly #options: OpenOptions;
  #model: Promise<LanguageModel> | undefined;

  constructor(source: string, options: OpenOptions) {
    this.modelId = source;
    this.#options = options;
  }

  protected model(): Promise<LanguageModel> {
    // Where it could not be opened, the next call tries again.
    const opening = (this.#model ??= open(this.modelId, this.#options));
    return opening.catch((error: unknown) => {
      if (this.#model === opening) this.#model = undefined;
      throw error;
    });
  }

  /** Closes the model; a later call opens it again. */
  dispose(): Promise<void> {
    return this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const model = this.#model;
    this.#model = undefined;
    // Callers who asked for the model get a failure to open.
    const opened = await model?.catch(() => undefined);
    await opened?.[Symbol.asyncDispose]();
  }
}
