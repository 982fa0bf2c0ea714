/** The API as one function from requests to responses; it needs no socket. */
import { randomBytes, randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import type { Logger } from 'pino';
import { type ApiKeys, checkHost, type RequestRate } from './access.ts';
import { ApiError, asApiError } from './api-error.ts';
import type { ServerMetrics } from './metrics.ts';
import type { Serving } from './request-context.ts';
import { exportSession, forkSession, importSession } from './session-routes.ts';
import { absentEndpoints, jsonEndpoints } from './endpoints.ts';
import { apiDocument, documentPage } from './api-document.ts';
import { deleteResponse, getResponse } from './responses.ts';
import { actOnSlot, listSlots } from './llama/slot-routes.ts';
import { tokenizerInfo } from './token-routes.ts';
import { addPage, type PageFiles } from './page.ts';

/** What an API is made of. */
export interface ApiOptions extends Serving {
  readonly keys: ApiKeys;
  readonly rate: RequestRate;
  readonly metrics: ServerMetrics;
  readonly log: Logger;
  /** Whether the server listens on a loopback address without a key: then only requests to localhost are answered. */
  readonly localOnly: boolean;
  /** Salts the keys of the prefix cache. Default: a random one; servers that share beginnings share it. */
  readonly secret?: string;
  /** Whether more requests are wanted: what load balancers look for. Default: always. */
  readonly ready?: () => boolean;
  /** Origins whose pages may call the API; '*' allows all. Default none. */
  readonly origins: readonly string[];
  /** The web page at `/`; undefined for none. */
  readonly page?: PageFiles;
}

export interface ApiEnvironment {
  Variables: { key: string; requestId: string; controller: AbortController };
}

/** Others that take nothing. */
const described = ['/metrics', '/props', '/tokenizer_info', '/openapi.json', '/docs'];

/** What anyone may ask. */
const open = new Set(['/health', '/v1/health', '/v1/models', '/models']);

export type Api = Hono<ApiEnvironment>;

/** Makes the API. Routes may be added to it. */
export function createApi(options: ApiOptions): Api {
  const { keys, rate, metrics, log, limits, model, secret = randomBytes(16).toString('hex') } = options;
  const app = new Hono<ApiEnvironment>();

  app.use(async (c, next) => {
    const started = performance.now();
    const given = c.req.header('x-request-id');
    const requestId = given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    c.set('key', '');
    c.set('controller', new AbortController());
    await next();
    const seconds = (performance.now() - started) / 1000;
    const { status } = c.res;
    c.header('x-request-id', requestId);
    c.header('x-content-type-options', 'nosniff');
    metrics.answered(knownPath(c.req.path), status, seconds);
    // Never the body: what users write is not for logs.
    log.info({ requestId, method: c.req.method, path: knownPath(c.req.path), status, seconds, key: c.get('key') });
  });

  if (options.origins.length > 0) {
    const origin = (asked: string): string | null =>
      options.origins.includes('*') || options.origins.includes(asked) ? asked : null;
    app.use(cors({ origin, credentials: true, allowMethods: ['GET', 'POST'], allowHeaders: ['*'] }));
  }

  app.use(async (c, next) => {
    if (options.localOnly) checkHost(c.req.header('host') ?? null);
    if (!open.has(c.req.path) && options.page?.has(c.req.path) !== true) {
      c.set('key', keys.identify(c.req.raw.headers));
      await rate.take(c.get('key'));
    }
    await next();
  });

  app.onError((error, c) => {
    const known = asApiError(error);
    // A variable that a failed middleware had no time to set is undefined, whatever its type says.
    c.var.controller?.abort();
    if (known.type === 'server_error') log.error({ requestId: c.var.requestId, err: error }, 'request failed');
    if (known.retryAfter !== undefined) c.header('retry-after', String(known.retryAfter));
    return c.json(known.body, known.status);
  });
  app.notFound((c) =>
    c.json(new ApiError('not_found_error', `there is no ${c.req.method} ${c.req.path.slice(0, 100)} here`).body, 404),
  );

  if (options.page !== undefined) addPage(app, options.page);
  for (const path of ['/health', '/v1/health']) {
    app.get(path, () => {
      if (options.ready?.() === false) throw new ApiError('unavailable_error', 'the server is shutting down');
      return Response.json({ status: 'ok' });
    });
  }
  for (const path of ['/v1/models', '/models']) app.get(path, () => Response.json(modelList(options)));
  app.get('/v1/models/:id', (c) => {
    if (c.req.param('id') !== model.name) throw new ApiError('not_found_error', 'there is no such model here');
    return Response.json(modelEntry(options));
  });
  app.get('/props', () => Response.json(properties(options)));
  app.get('/v1/responses/:id', (c) => getResponse(options, c.get('key'), c.req.param('id')));
  app.delete('/v1/responses/:id', (c) => deleteResponse(options, c.get('key'), c.req.param('id')));
  const document = lazily(() => apiDocument(limits));
  app.get('/openapi.json', () => Response.json(document()));
  app.get('/docs', () => documentPage(limits));
  app.get('/slots', (c) => listSlots(options, c.req.query('fail_on_no_slot') !== undefined));
  app.get('/tokenizer_info', () => tokenizerInfo(options));
  app.get('/metrics', async (c) => {
    c.header('content-type', metrics.registry.contentType);
    return c.body(await metrics.registry.metrics());
  });

  if (model.engine.readsText) refuseContinuing(app);
  addSessionFiles(app, options);
  app.use(
    bodyLimit({
      maxSize: limits.bodyBytes,
      onError: () => {
        throw new ApiError('payload_too_large_error', `a body may have ${limits.bodyBytes} bytes`);
      },
    }),
  );
  app.post('/v1/sessions/:id/fork', async (c) => {
    const body = await jsonBody(c.req.raw);
    const request = { body, key: c.get('key'), salt: '', abort: c.get('controller') };
    return forkSession(options, c.req.param('id'), request);
  });
  app.post('/slots/:id', async (c) => {
    const erases = c.req.query('action') === 'erase';
    const body = erases ? {} : await jsonBody(c.req.raw);
    const request = { body, key: c.get('key'), salt: '', abort: c.get('controller') };
    return actOnSlot(options, { id: c.req.param('id'), action: c.req.query('action') }, request);
  });
  for (const [path, { answer }] of Object.entries(jsonEndpoints)) {
    app.post(path, async (c) => {
      const controller = c.get('controller');
      const body = await jsonBody(c.req.raw);
      const signal = c.req.raw.signal;
      if (signal.aborted) controller.abort();
      signal.addEventListener('abort', () => {
        controller.abort();
      });
      const timer = setTimeout(() => {
        controller.abort();
      }, limits.timeout * 1000);
      timer.unref();
      controller.signal.addEventListener('abort', () => {
        clearTimeout(timer);
      });
      const key = c.get('key');
      return answer(options, { body, key, salt: `${secret} ${key} `, abort: controller });
    });
  }
  for (const path of absentEndpoints) {
    app.all(path, () => {
      throw new ApiError('not_supported_error', `this server has no ${path}`);
    });
  }
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

/** A value that is made when it is first asked for. */
function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Sessions as they are, and as files, whose size has a limit of its own. */
function addSessionFiles(app: Api, serving: Serving): void {
  const { sessions } = serving;
  app.get('/v1/sessions', async (c) => Response.json({ object: 'list', data: await sessions.list(c.get('key')) }));
  app.get('/v1/sessions/:id', async (c) =>
    Response.json(await sessions.describe({ owner: c.get('key'), id: c.req.param('id') })),
  );
  app.get('/v1/sessions/:id/text', async (c) => {
    const id = c.req.param('id');
    const tokens = await sessions.tokens({ owner: c.get('key'), id });
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

/** Parsed JSON. A page of another site cannot send this content type without being asked first. */
async function jsonBody(request: Request): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/json\b/i.test(type)) {
    throw new ApiError('unsupported_media_type_error', 'the body must be JSON, with "content-type: application/json"');
  }
  const text = await request.text();
  try {
    const body: unknown = JSON.parse(text);
    return body;
  } catch {
    throw new ApiError('invalid_request_error', 'the body is not valid JSON');
  }
}

/** A path as it may be reported and counted: without control characters, and not without end. */
function knownPath(path: string): string {
  const known = [...Object.keys(jsonEndpoints), ...open, ...absentEndpoints, ...described];
  if (known.includes(path)) return path;
  return ['/v1/sessions', '/v1/responses', '/slots'].find((known) => path.startsWith(known)) ?? 'other';
}

function modelEntry({ model }: Serving) {
  const { sizes } = model.engine.model;
  return {
    id: model.name,
    object: 'model',
    created: model.created,
    owned_by: 'linnet',
    meta: {
      n_vocab: sizes.vocabulary,
      n_ctx_train: sizes.trainedLength,
      n_embd: sizes.width,
      // A model that reads a text has no state before that.
      state_bytes: model.engine.readsText ? null : model.engine.newState().bytes,
    },
  };
}

function modelList(serving: Serving) {
  return { object: 'list', data: [modelEntry(serving)] };
}

function properties({ model, texts, limits }: Serving) {
  return {
    total_slots: texts.scheduler.parallel,
    default_generation_settings: { n_ctx: limits.promptTokens, params: { temperature: 1, top_p: 1 } },
    model_alias: model.name,
    chat_template: model.template?.source ?? '',
    trained_length: model.engine.model.sizes.trainedLength,
    limits,
    is_sleeping: false,
  };
}
