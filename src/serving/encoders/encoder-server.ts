/** A server of a classifier or an encoder. */
import type { ReadingModel } from '../../open/running-model.ts';
import { type ApiDefinition, createApi } from '../http/app.ts';
import { textRoutes } from '../http/text-api.ts';
import { listen, type Listening } from '../listen.ts';
import { type AnyServerOptions, surroundings } from '../server.ts';
import { encoderEmbedder, encoderRoutes, type EncoderServing } from './encoder-routes.ts';
import { TextLine } from './text-line.ts';

/** How such a model is served. */
export interface EncoderServerOptions extends AnyServerOptions {
  /** Requests that are read or wait; more are refused with 429. Default 72. */
  readonly maxRequests?: number;
}

/** Serves a model, which stays the caller's. @throws LinnetError as `startServer` */
export async function startEncoderServer(model: ReadingModel, options: EncoderServerOptions): Promise<Listening> {
  const line = new TextLine(options.maxRequests ?? 72);
  const around = { ...surroundings(options), model, line };
  const serving = { ...around, embeddings: encoderEmbedder(around) };
  return listen(createApi<EncoderServing>(serving, encoderApi(model)), options, {
    serving,
    settle: () => line.close(),
  });
}

/** Routes of generating models are refused, with the routes that the model has. */
function encoderApi({ opened, reader }: ReadingModel): ApiDefinition<EncoderServing> {
  const { kind } = opened;
  const {
    classifier,
    backbone: { sizes },
  } = reader;
  const [name, can] =
    kind === 'classifier' ? ['a classifier', '/classify, /predict, /v1/embeddings'] : ['an encoder', '/v1/embeddings'];
  const own = new Set(encoderRoutes.map(({ path }) => path));
  return {
    summary: 'A model that reads texts and writes none: classes, vectors, tokens.',
    routes: encoderRoutes,
    refused: {
      paths: textRoutes.map(({ path }) => path).filter((path) => !own.has(path)),
      why: `this model is ${name} and writes no text: it answers ${can}`,
    },
    meta: ({ model }) => ({
      kind,
      n_vocab: sizes.vocabulary,
      n_ctx_train: sizes.trainedLength,
      n_embd: sizes.width,
      n_params: model.parameterCount,
      ...(classifier !== undefined && { labels: classifier.labels, regression: classifier.isRegression }),
    }),
    properties: ({ model, line, limits }) => ({
      total_slots: line.most,
      trained_length: sizes.trainedLength,
      max_input_length: Math.min(model.reader.longest, limits.textTokens),
    }),
  };
}
