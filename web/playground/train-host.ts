/** Training in the worker. The graph compiler is loaded with the first training. */
import {
  type LanguageModel,
  LinnetError,
  preparePrompt,
  runTogether,
  type StepEngine,
  type WebOpenOptions,
} from '../../src/web.ts';
import type { TrainedParameters } from '../../src/web-training.ts';
import type { Answers, AnswerProgress } from './protocol.ts';
import type { SharedModels } from './shared-models.ts';
import type { TrainRequest } from './train-protocol.ts';

/** The open model and its source. */
export interface OpenedSource {
  readonly model: LanguageModel;
  readonly url: string;
  readonly options: Pick<WebOpenOptions, 'cache' | 'fetch' | 'threads'>;
}

type OnProgress = (progress: AnswerProgress) => void;
type RequestOf<Name extends TrainRequest['name']> = Extract<TrainRequest, { readonly name: Name }>;

/** A training's result. */
interface Trained {
  readonly parameters: TrainedParameters['parameters'];
  readonly engine: StepEngine;
}

export class TrainHost {
  readonly #opened: () => OpenedSource;
  readonly #models: SharedModels;
  #trained: Trained | undefined;
  #running: AbortController | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * @param opened returns the open model; throws if there is none
   * @param models whose turns it takes
   */
  constructor(opened: () => OpenedSource, models: SharedModels) {
    this.#opened = opened;
    this.#models = models;
  }

  /** @throws LinnetError as `openTrainable` and `trainOnTexts` */
  answer(request: TrainRequest, onProgress: OnProgress): Promise<Partial<Answers>> {
    const answered = this.#answer(request, onProgress);
    this.#last = Promise.allSettled([this.#last, answered]).then(() => undefined);
    return answered;
  }

  async #answer(request: TrainRequest, onProgress: OnProgress): Promise<Partial<Answers>> {
    switch (request.name) {
      case 'train':
        return { train: await this.#train(request, onProgress) };
      case 'try':
        return { try: await this.#try(request) };
      case 'weights':
        return { weights: await this.#weights() };
    }
  }

  /** Stops after the current update. */
  stop(): void {
    this.#running?.abort();
  }

  /** Stops training and releases its result. */
  async close(): Promise<void> {
    this.stop();
    await this.#last;
    await this.#forget();
  }

  async #forget(): Promise<void> {
    const before = this.#trained;
    this.#trained = undefined;
    await before?.engine.dispose();
  }

  async #train({ text, settings }: RequestOf<'train'>, onProgress: OnProgress): Promise<Answers['train']> {
    const { url, options } = this.#opened();
    const { threads } = options;
    await this.#forget();
    const { signal } = (this.#running = new AbortController());
    try {
      const { openTrainable, trainedEngine, trainOnTexts } = await import('../../src/web-training.ts');
      const trainable = await openTrainable(url, { ...options, signal });
      const { parameters, updates, total, finished } = await trainOnTexts(trainable, [text], {
        settings,
        signal,
        engine: { threads },
        onPlan: ({ tokens, rows }) => onProgress({ type: 'planned', tokens, rows }),
        onUpdate: ({ update, total, loss, seconds }) => onProgress({ type: 'updated', update, total, loss, seconds }),
      });
      if (updates > 0) {
        const engine = await trainedEngine(trainable.model, parameters, { threads });
        this.#trained = { parameters, engine };
      }
      return { updates, total, finished };
    } finally {
      this.#running = undefined;
    }
  }

  async #try({ prompt, maxTokens, sampler, trained }: RequestOf<'try'>): Promise<string> {
    const { model } = this.#opened();
    const { tokenizer } = model;
    const engine = trained ? this.#found().engine : await model.engine();
    const { signal } = (this.#running = new AbortController());
    try {
      const read = preparePrompt({ decoder: engine.model, tokenizer }, { text: prompt });
      const job = { prompt: read, sampling: sampler, maxTokens, ignoreEos: true };
      const [{ text }] = await this.#models.inTurn(() => runTogether(engine, [job], { tokenizer, signal }));
      return text;
    } finally {
      this.#running = undefined;
    }
  }

  async #weights(): Promise<Blob> {
    const { parameters } = this.#found();
    const { weightsFile } = await import('../../src/web-training.ts');
    return new Blob([await weightsFile(parameters)]);
  }

  #found(): Trained {
    if (this.#trained !== undefined) return this.#trained;
    throw new LinnetError('INPUT', 'nothing is trained yet; train the model first');
  }
}
