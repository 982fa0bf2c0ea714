/** The API of a model that writes. */
import { addEndpoints, type Api, createFrame, type FrameOptions } from './app-frame.ts';
import { jsonBody } from './body.ts';
import { ApiError } from './api-error.ts';
import { absentEndpoints, jsonEndpoints, writingApi } from './endpoints.ts';
import { actOnSlot, listSlots } from './slot-routes.ts';
import type { Serving } from './request-context.ts';
import { deleteResponse, getResponse } from './dialects/responses.ts';
import { describeSession, exportSession, forkSession, importSession } from './session-routes.ts';

/** What an API is made of. */
export interface ApiOptions extends Serving, FrameOptions {
  readonly model: Serving['model'];
}

/** Makes the API. Routes may be added to it. */
export function createApi(options: ApiOptions): Api {
  const { model, limits } = options;
  const app = createFrame(options, {
    meta: () => modelFacts(options),
    properties: () => properties(options),
    document: writingApi,
  });
  app.get('/v1/responses/:id', (c) => getResponse(options, c.get('key'), c.req.param('id')));
  app.delete('/v1/responses/:id', (c) => deleteResponse(options, c.get('key'), c.req.param('id')));
  app.get('/slots', (c) => listSlots(options, c.req.query('fail_on_no_slot') !== undefined));
  if (model.engine.model.cross !== undefined) refuseContinuing(app);
  addSessionFiles(app, options);
  app.post('/v1/sessions/:id/fork', async (c) => {
    const body = await jsonBody(c.req.raw, limits.bodyBytes, {});
    const request = { body, key: c.get('key'), salt: '', abort: c.get('controller') };
    return forkSession(options, c.req.param('id'), request);
  });
  app.post('/slots/:id', async (c) => {
    const { action, target } = c.req.query();
    const body = await jsonBody(c.req.raw, limits.bodyBytes, {});
    const request = { body, key: c.get('key'), salt: '', abort: c.get('controller') };
    return actOnSlot(options, { id: c.req.param('id'), action, target }, request);
  });
  addEndpoints<Serving>(app, options, jsonEndpoints, absentEndpoints);
  return app;
}

/** Endpoints for models that continue their prompt, of a model that writes about it. */
function refuseContinuing(app: Api): void {
  const paths = ['/v1/chat/*', '/v1/responses/*', '/v1/sessions/*', '/slots/*', '/completion', '/apply-template'];
  for (const path of [...paths, '/completions', '/v1/embeddings', '/embeddings', '/embedding']) {
    app.use(path, () => {
      throw new ApiError('not_supported_error', 'this model reads a text and writes another: use /v1/completions');
    });
  }
}

/** Sessions as they are, and as files, whose size has a limit of its own. */
function addSessionFiles(app: Api, serving: Serving): void {
  const { sessions } = serving;
  app.get('/v1/sessions', async (c) => Response.json({ object: 'list', data: await sessions.list(c.get('key')) }));
  app.get('/v1/sessions/:id', async (c) => describeSession(serving, { owner: c.get('key'), id: c.req.param('id') }));
  app.get('/v1/sessions/:id/text', async (c) => {
    const id = c.req.param('id');
    const { tokens } = (await sessions.load({ owner: c.get('key'), id })).session;
    return Response.json({ id, object: 'session.text', text: serving.model.tokenizer.decode(Array.from(tokens)) });
  });
  app.delete('/v1/sessions/:id', async (c) => {
    const id = c.req.param('id');
    await sessions.remove({ owner: c.get('key'), id });
    return Response.json({ id, object: 'session', deleted: true });
  });
  app.get('/v1/sessions/:id/state', (c) => exportSession(serving, c.req.param('id'), c.get('key')));
  app.put('/v1/sessions/:id/state', (c) => importSession(serving, c.req.param('id'), c.get('key'), c.req.raw));
  app.post('/v1/sessions/import', (c) => importSession(serving, undefined, c.get('key'), c.req.raw));
}

function modelFacts({ model }: Serving) {
  const { sizes } = model.engine.model;
  return {
    n_vocab: sizes.vocabulary,
    n_ctx_train: sizes.trainedLength,
    n_embd: sizes.width,
    n_params: model.parameterCount,
    // A model that reads a text has no state before that.
    state_bytes: model.engine.model.cross !== undefined ? null : model.engine.newState().bytes,
  };
}

function properties({ model, runner, limits }: Serving) {
  return {
    total_slots: runner.parallel,
    deterministic: runner.deterministic,
    default_generation_settings: { n_ctx: limits.promptTokens, params: { temperature: 1, top_p: 1 } },
    chat_template: model.template?.source ?? '',
    trained_length: model.engine.model.sizes.trainedLength,
  };
}
