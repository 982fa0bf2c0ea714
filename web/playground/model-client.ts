/** The page's side of the worker: calls return promises. */
import type {
  Answers,
  FromWorker,
  ModelFacts,
  ChosenModel,
  AnswerProgress,
  Request,
  TextFacts,
  ToWorker,
  WriteOptions,
  Written,
} from './protocol.ts';
import type { Looked, Moved, ViewMixer } from './views-protocol.ts';
import type { TrainAnswers, TrainRequest } from './train-protocol.ts';

type OnProgress = (progress: AnswerProgress) => void;

export class ModelClient {
  readonly #worker: Worker | MessagePort;
  readonly #waiting = new Map<number, (message: FromWorker) => void>();
  #calls = 0;
  #texts = 0;

  /** @param shared whether other tabs of the page use the same engine, which then has one thread */
  constructor(shared: boolean) {
    const take = ({ data }: MessageEvent<FromWorker>): void => this.#waiting.get(data.call)?.(data);
    const fail = ({ message }: ErrorEvent): void => {
      for (const [call, waiting] of this.#waiting)
        waiting({ call, type: 'failed', message: `the worker failed: ${message}` });
    };
    if (!shared) {
      const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'linnet' });
      worker.addEventListener('message', take);
      worker.addEventListener('error', fail);
      this.#worker = worker;
      return;
    }
    const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'linnet-shared' });
    worker.port.addEventListener('message', take);
    worker.addEventListener('error', fail);
    worker.port.start();
    this.#worker = worker.port;
    const lock = `linnet-page-${crypto.randomUUID()}`;
    // Held until the page is gone; no event tells the worker.
    void navigator.locks.request(lock, async () => {
      await this.#ask('page', { name: 'page', lock });
      await new Promise(() => undefined);
    });
  }

  newText(): number {
    return ++this.#texts;
  }

  /** Replaces the open model and drops all texts. */
  open(source: ChosenModel, threads: number | undefined, onProgress: OnProgress): Promise<ModelFacts> {
    return this.#ask('open', { name: 'open', source, threads }, onProgress);
  }

  write(id: number, added: string, options: WriteOptions, onProgress: OnProgress): Promise<Written> {
    return this.#ask('write', { name: 'write', id, added, options }, onProgress);
  }

  fork(id: number, from: number): Promise<TextFacts> {
    return this.#ask('fork', { name: 'fork', id, from });
  }

  async save(id: number, as: string): Promise<void> {
    await this.#ask('save', { name: 'save', id, as });
  }

  restore(id: number, from: string): Promise<TextFacts> {
    return this.#ask('restore', { name: 'restore', id, from });
  }

  /** Attention maps of a text, with `mixer` in the open model. */
  look(text: string, mixer: ViewMixer): Promise<Looked> {
    return this.#ask('look', { name: 'look', text, mixer });
  }

  /** How predictions move when tokens are replaced, with `mixer` in the open model. */
  move(text: string, mixer: ViewMixer): Promise<Moved> {
    return this.#ask('move', { name: 'move', text, mixer });
  }

  /** Sends a training request. */
  train<Name extends TrainRequest['name']>(
    request: Extract<TrainRequest, { readonly name: Name }>,
    onProgress?: OnProgress,
  ): Promise<TrainAnswers[Name]> {
    return this.#ask(request.name, request, onProgress);
  }

  async forget(id: number): Promise<void> {
    await this.#ask('forget', { name: 'forget', id });
  }

  async stop(): Promise<void> {
    await this.#ask('stop', { name: 'stop' });
  }

  #ask<Name extends keyof Answers>(name: Name, request: Request, onProgress?: OnProgress): Promise<Answers[Name]> {
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, (message) => {
        if (message.type === 'progress') {
          onProgress?.(message.progress);
          return;
        }
        this.#waiting.delete(call);
        const answer: Answers[Name] | undefined = message.type === 'answer' ? message.answers[name] : undefined;
        if (answer !== undefined) resolve(answer);
        else reject(new Error(message.type === 'failed' ? message.message : `the worker gave no answer to "${name}"`));
      });
      const asked: ToWorker = { call, request };
      this.#worker.postMessage(asked);
    });
  }
}
