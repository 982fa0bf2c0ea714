/** The worker: the model computes here, so that the page stays alive. */
import './no-eval.ts';
import { ModelHost } from './model-host.ts';
import { TrainHost } from './train-host.ts';
import type { Answers, FromWorker, AnswerProgress, Request, ToWorker } from './protocol.ts';
import type { ViewsHost } from './views-host.ts';

const host = new ModelHost();
const training = new TrainHost(() => host.source());

let views: Promise<ViewsHost> | undefined;

/** Building graphs in the tab is for the views that need it: loaded with the first of them. */
function viewsHost(): Promise<ViewsHost> {
  views ??= import('./views-host.ts').then((loaded) => new loaded.ViewsHost(() => host.source()));
  return views;
}

async function answer(request: Request, onProgress: (progress: AnswerProgress) => void): Promise<Partial<Answers>> {
  switch (request.name) {
    case 'open':
      training.stop();
      await training.forget();
      return { open: await host.open(request.source, request.threads, onProgress) };
    case 'train':
    case 'try':
    case 'weights':
      return training.answer(request, onProgress);
    case 'write':
      return { write: await host.write(request.id, request.added, request.options, onProgress) };
    case 'fork':
      return { fork: host.fork(request.id, request.from) };
    case 'save':
      await host.save(request.id, request.as);
      return { save: true };
    case 'restore':
      return { restore: await host.restore(request.id, request.from) };
    case 'forget':
      host.forget(request.id);
      return { forget: true };
    case 'stop':
      host.stop();
      training.stop();
      return { stop: true };
    case 'look':
      return { look: await (await viewsHost()).look(request.text, request.mixer) };
    case 'move':
      return { move: await (await viewsHost()).move(request.text, request.mixer) };
  }
}

const tell = (message: FromWorker): void => postMessage(message);

addEventListener('message', ({ data: { call, request } }: MessageEvent<ToWorker>) => {
  answer(request, (progress) => tell({ call, type: 'progress', progress })).then(
    (answers) => tell({ call, type: 'answer', answers }),
    (error: unknown) => tell({ call, type: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});
