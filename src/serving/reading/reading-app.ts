/** The API of a classifier or an encoder. What a model would have to write for is refused, and the model says what it can do. */
import { addEndpoints, type Api, createFrame, type FrameOptions } from '../http/app-frame.ts';
import type { DocumentedApi } from '../http/api-document.ts';
import { ApiError } from '../http/api-error.ts';
import { absentEndpoints, jsonEndpoints } from '../http/endpoints.ts';
import { readingEndpoints, type ReadingServing } from './reading-routes.ts';

/** What an API is made of. */
export interface ReadingApiOptions extends ReadingServing, FrameOptions {
  readonly model: ReadingServing['model'];
}

const documented: DocumentedApi = {
  summary: 'A model that reads texts and writes none: classes, vectors, tokens.',
  endpoints: readingEndpoints,
  others: [],
  absent: absentEndpoints,
};

/** Paths of models that write, and below them. */
const writing = [
  ...Object.keys(jsonEndpoints).filter((path) => !Object.hasOwn(readingEndpoints, path)),
  '/v1/sessions/*',
  '/v1/responses/*',
  '/slots/*',
];

/** Makes the API. */
export function createReadingApi(options: ReadingApiOptions): Api {
  const { model, line, limits } = options;
  const { sizes } = model.description;
  const labels = model.classifier?.labels;
  const app = createFrame(options, {
    meta: () => ({
      kind: model.kind,
      n_vocab: sizes.vocabulary,
      n_ctx_train: sizes.trainedLength,
      n_embd: sizes.width,
      n_params: model.parameterCount,
      ...(labels !== undefined && { labels, regression: model.classifier?.isRegression }),
    }),
    properties: () => ({
      total_slots: line.most,
      trained_length: sizes.trainedLength,
      max_input_length: Math.min(model.longest, limits.textTokens),
    }),
    document: documented,
  });
  const can = model.kind === 'classifier' ? '/classify, /predict, /v1/embeddings' : '/v1/embeddings';
  for (const path of writing) {
    app.all(path, () => {
      throw new ApiError(
        'not_supported_error',
        `this model is ${article(model.kind)} and writes no text: it answers ${can}`,
      );
    });
  }
  addEndpoints<ReadingServing>(app, options, readingEndpoints, absentEndpoints);
  return app;
}

function article(kind: 'classifier' | 'encoder'): string {
  return kind === 'encoder' ? 'an encoder' : 'a classifier';
}
