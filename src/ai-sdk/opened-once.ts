/** A model that is opened when it is first needed, once. */
import { openCausal, type RunningModel, type RunningOptions } from '../open/running-model.ts';

export abstract class OpenedOnce implements AsyncDisposable {
  readonly specificationVersion = 'v3';
  readonly provider = 'linnet';
  readonly modelId: string;
  readonly #options: RunningOptions;
  #model: Promise<RunningModel> | undefined;

  constructor(source: string, options: RunningOptions) {
    this.modelId = source;
    this.#options = options;
  }

  protected model(): Promise<RunningModel> {
    // Where it could not be opened, the next call tries again.
    this.#model ??= openCausal(this.modelId, this.#options).catch((error: unknown) => {
      this.#model = undefined;
      throw error;
    });
    return this.#model;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const model = this.#model;
    this.#model = undefined;
    await (await model)?.[Symbol.asyncDispose]();
  }
}
