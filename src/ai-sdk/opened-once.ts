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
    const opening = (this.#model ??= openCausal(this.modelId, this.#options));
    return opening.catch((error: unknown) => {
      if (this.#model === opening) this.#model = undefined;
      throw error;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const model = this.#model;
    this.#model = undefined;
    // A failure to open is for those who asked for the model.
    const opened = await model?.catch(() => undefined);
    await opened?.[Symbol.asyncDispose]();
  }
}
