/**
 * The worker: the model computes here, so the page stays responsive. As a shared worker it serves several pages, which share
 * the open models.
 */
import './no-eval.ts';
import { ModelHost } from './model-host.ts';
import { SharedModels } from './shared-models.ts';
import { TrainHost } from './train-host.ts';
import type { Answers, FromWorker, AnswerProgress, Request, ToWorker } from './protocol.ts';
import type { ViewsHost } from './views-host.ts';

/** A page's port, or the worker itself if it serves one page. */
interface Port {
  postMessage(message: FromWorker): void;
  addEventListener(type: 'message', listener: (event: MessageEvent<ToWorker>) => void): void;
}

const models = new SharedModels();

/** One page. */
class PageHost {
  readonly #host = new ModelHost(models);
  readonly #training = new TrainHost(() => this.#host.source(), models);
  #views: Promise<ViewsHost> | undefined;

  /** Releases the page's models once its lock is free: pages hold it as long as they live. */
  async closeWith(lock: string): Promise<void> {
    await navigator.locks.request(lock, async () => {
      await this.#training.close();
      await this.#host.close();
    });
  }

  async answer(request: Request, onProgress: (progress: AnswerProgress) => void): Promise<Partial<Answers>> {
    switch (request.name) {
      case 'page':
        void this.closeWith(request.lock);
        return { page: true };
      case 'open':
        await this.#training.close();
        return { open: await this.#host.open(request.source, request.threads, onProgress) };
      case 'train':
      case 'try':
      case 'weights':
        return this.#training.answer(request, onProgress);
      case 'write':
        return { write: await this.#host.write(request.id, request.added, request.options, onProgress) };
      case 'fork':
        return { fork: this.#host.fork(request.id, request.from) };
      case 'save':
        await this.#host.save(request.id, request.as);
        return { save: true };
      case 'restore':
        return { restore: await this.#host.restore(request.id, request.from) };
      case 'forget':
        this.#host.forget(request.id);
        return { forget: true };
      case 'stop':
        this.#host.stop();
        this.#training.stop();
        return { stop: true };
      case 'look':
        return { look: await (await this.#viewsHost()).look(request.text, request.mixer) };
      case 'move':
        return { move: await (await this.#viewsHost()).move(request.text, request.mixer) };
    }
  }

  /** Loaded with the first view that builds graphs. */
  #viewsHost(): Promise<ViewsHost> {
    this.#views ??= import('./views-host.ts').then((loaded) => new loaded.ViewsHost(() => this.#host.source()));
    return this.#views;
  }
}

function serve(port: Port): void {
  const host = new PageHost();
  port.addEventListener('message', ({ data: { call, request } }) => {
    host
      .answer(request, (progress) => port.postMessage({ call, type: 'progress', progress }))
      .then(
        (answers) => port.postMessage({ call, type: 'answer', answers }),
        (error: unknown) =>
          port.postMessage({ call, type: 'failed', message: error instanceof Error ? error.message : String(error) }),
      );
  });
}

if ('onconnect' in globalThis) {
  addEventListener('connect', (event) => {
    if (!(event instanceof MessageEvent)) return;
    const [port] = event.ports;
    serve(port);
    port.start();
  });
} else {
  serve({
    postMessage: (message) => postMessage(message),
    addEventListener: (type, listener) => addEventListener(type, listener),
  });
}
