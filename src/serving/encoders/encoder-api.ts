/** The API of a classifier or an encoder. Routes of generating models are refused, with the routes that the model has. */
import type { ApiDefinition } from '../http/app.ts';
import { textRoutes } from '../http/text-api.ts';
import type { ReadingModel } from '../../open/running-model.ts';
import { encoderRoutes, type EncoderServing } from './encoder-routes.ts';

/** The API of a model. */
export function encoderApi({ opened, reader }: ReadingModel): ApiDefinition<EncoderServing> {
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
