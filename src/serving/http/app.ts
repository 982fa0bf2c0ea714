/**
 * The API of a server: its routes, and around them keys, rates, limits, errors, logs, metrics, the web page, and routes that
 * describe the server, the model and the API. It is one function from requests to responses, and needs no socket.
 */
import { randomBytes } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { requestId } from 'hono/request-id';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { systemErrorCode } from '../../files/regular-file.ts';
import { describeSoftware } from '../../report/provenance.ts';
import { type ApiKeys, checkPage, type RequestRate } from './access.ts';
import { apiDocument, documentPage } from './api-document.ts';
import { ApiError, asApiError } from './api-error.ts';
import { unbuffered } from './dialects/event-stream.ts';
import { type MetricDialect, type ServerMetrics, withDialects } from './metrics.ts';
import { addPage, type PageFiles } from './page.ts';
import { answeredName, modelNames, type TokenServing } from './request-context.ts';
import { checkBody, jsonBody } from './request-fields.ts';
import type { Route } from './route.ts';
import { tokenizerInfo } from './token-routes.ts';

export interface ApiOptions extends TokenServing {
  readonly keys: ApiKeys;
  /** Default: as often as they like. */
  readonly rate?: RequestRate;
  readonly metrics: ServerMetrics;
  readonly log: Logger;
  /** Whether the server listens on a loopback address without a key: then only requests to localhost are answered. */
  readonly localOnly: boolean;
  /** Salts the keys of the prefix cache. Default: a random one; servers that share beginnings share it. */
  readonly secret?: string;
  /** Whether load balancers are to look elsewhere. */
  draining: boolean;
  /** Ends all requests with its reason, as draining has no more time. */
  readonly end: AbortController;
  /** Origins whose pages may call the API; '*' allows all. Default none. */
  readonly origins: readonly string[];
  /** Other servers whose names measurements also use. Default none. */
  readonly metricDialects?: readonly MetricDialect[];
  readonly page?: PageFiles;
  /** Whether measurements need no key. Default false. */
  readonly openMetrics?: boolean;
}

/** The API of a kind of models. */
export interface ApiDefinition<S> {
  readonly summary: string;
  readonly routes: readonly Route<S>[];
  /** Paths of other models that this one cannot answer, and why. */
  readonly refused: { readonly paths: readonly string[]; readonly why: string };
  /** Fields of `meta` in /v1/models beyond every model's. */
  readonly meta: (serving: S) => object;
  /** Running and waiting requests. */
  readonly load: (serving: S) => number;
  /** Fields of /props beyond every server's. */
  readonly properties: (serving: S) => object | Promise<object>;
}

interface ApiEnvironment {
  Variables: { key: string; requestId: string; abort?: AbortController };
}

type Api = Hono<ApiEnvironment>;

/** Endpoints of other servers that this one does not have. */
const absentEndpoints: readonly string[] = [
  '/v1/messages',
  '/v1/messages/count_tokens',
  '/v1/audio/speech',
  '/v1/audio/transcriptions',
  '/v1/images/generations',
  '/v1/moderations',
  '/v1/batches',
  '/v1/files',
  '/completion',
  '/completions',
  '/infill',
  '/slots',
  '/rerank',
  '/v1/rerank',
  '/lora-adapters',
  '/models/load',
  '/models/unload',
  '/api/pull',
  '/api/push',
  '/api/create',
  '/api/copy',
  '/api/delete',
];

/** Addresses that need no key. */
const open = ['/health', '/v1/health', '/v1/models', '/models'];

/** Addresses that routers read; they need no key either, if asked for. */
const measured = ['/metrics', '/load'];

export function createApi<S extends TokenServing>(options: S & ApiOptions, definition: ApiDefinition<S>): Api {
  const app: Api = new Hono<ApiEnvironment>();
  addSurroundings(app, options, definition.routes);
  if (options.page !== undefined) addPage(app, options.page);
  addFacts(app, options, definition);
  const { paths, why } = definition.refused;
  for (const path of paths) app.all(honoPath(path), refusing(why));
  const { secret = randomBytes(16).toString('hex') } = options;
  for (const route of definition.routes) addRoute(app, options, route, secret);
  for (const path of absentEndpoints) app.all(path, refusing(`this server has no ${path}`));
  return app;
}

function refusing(why: string) {
  return (): never => {
    throw new ApiError('not_supported_error', why);
  };
}

function addSurroundings(app: Api, options: ApiOptions, routes: readonly Pick<Route<never>, 'path'>[]): void {
  const { keys, rate, metrics, log, origins } = options;
  const known = new Set([...routes.map(({ path }) => path), ...open, ...absentEndpoints, ...described]);

  app.use(requestId({ limitLength: 128 }));
  app.use(async (c, next) => {
    const started = performance.now();
    c.set('key', '');
    await next();
    const seconds = (performance.now() - started) / 1000;
    const { status } = c.res;
    c.header('x-request-id', c.get('requestId'));
    c.header('x-content-type-options', 'nosniff');
    const session = c.req.header('x-session-id') ?? '';
    // Load balancers that keep a client's requests together recognize it by this, even if a proxy set it.
    if (/^[\w.:-]{1,128}$/.test(session)) c.header('x-session-id', session);
    const path = knownPath(c.req.path, known);
    metrics.answered(path, status, seconds);
    // Never the body: texts of users do not belong in logs.
    const line = { requestId: c.get('requestId'), method: c.req.method, path, status, seconds, key: c.get('key') };
    if (path.endsWith('/health') && status === 200) log.debug(line);
    else log.info(line);
  });
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        const allow = methods.join(', ');
        const error = new ApiError('method_not_allowed_error', `this endpoint answers only ${allow}`);
        return c.json(errorBody(c, error), error.status, { allow });
      },
    }),
  );
  if (origins.length > 0) {
    app.use(
      cors({
        origin: (asked) => (origins.includes('*') || origins.includes(asked) ? asked : null),
        allowMethods: ['GET', 'POST', 'PUT', 'DELETE'],
        exposeHeaders: ['x-request-id', 'x-session-id', 'x-linnet-warning', 'retry-after'],
      }),
    );
  }
  app.use(async (c, next) => {
    checkPage(c.req.raw, origins, options.localOnly);
    const isOpen = open.includes(c.req.path) || (options.openMetrics === true && measured.includes(c.req.path));
    if (!isOpen && options.page?.has(c.req.path) !== true) {
      c.set('key', keys.identify(c.req.raw.headers));
      await rate?.take(c.get('key'));
    }
    await next();
  });
  app.onError((error, c) => {
    // Without its client, a request fails through no fault of the server.
    const isGone = c.req.raw.signal.aborted || isDisconnect(error);
    const known = isGone
      ? new ApiError('unavailable_error', 'the client is gone')
      : asApiError(error, c.get('abort')?.signal);
    metrics.rejected(known.type);
    c.get('abort')?.abort();
    // Half a body would end its connection amid the next request.
    if (c.req.raw.bodyUsed) c.req.raw.body?.pipeTo(new WritableStream()).catch(() => undefined);
    if (known.type === 'server_error') log.error({ requestId: c.get('requestId'), err: error }, 'request failed');
    if (known.retryAfter !== undefined) c.header('retry-after', String(known.retryAfter));
    return c.json(errorBody(c, known), known.status);
  });
  app.notFound((c) => {
    const { method, path } = c.req;
    const advice = known.has(`/v1${path}`) ? `; end the client's base URL with /v1` : '';
    const message = `there is no ${method} ${path.slice(0, 100)} here${advice}`;
    return c.json(errorBody(c, new ApiError('not_found_error', message)), 404);
  });
}

/** Whether an upload ended before its body had come. */
function isDisconnect(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === 'ECONNRESET' || code === 'ABORT_ERR' || (error instanceof Error && error.message === 'aborted');
}

/** An error in the shape of the API that was asked: Ollama's is below /api/. */
function errorBody({ req: { path } }: Context, { body, message }: ApiError) {
  return path.startsWith('/api/') ? { error: message } : body;
}

/** Addresses common to every API, other than the ones that need no key. */
const described = ['/metrics', '/load', '/props', '/tokenizer_info', '/openapi.json', '/docs'];

function addFacts<S extends TokenServing>(app: Api, options: S & ApiOptions, definition: ApiDefinition<S>): void {
  const { model, limits, metrics, metricDialects = [] } = options;
  const names = modelNames(options);
  for (const path of ['/health', '/v1/health']) {
    app.get(path, (c) => {
      if (options.draining) throw new ApiError('unavailable_error', 'the server is shutting down');
      return c.json({ status: 'ok' });
    });
  }
  const entry = (id: string) => {
    return {
      id,
      object: 'model',
      created: model.created,
      owned_by: 'linnet',
      max_model_len: options.contextSize,
      meta: {
        n_vocab: model.vocabulary,
        n_ctx_train: model.trainedLength,
        n_params: model.parameterCount,
        ...definition.meta(options),
      },
    };
  };
  for (const path of ['/v1/models', '/models']) {
    app.get(path, (c) => c.json({ object: 'list', data: names.map(entry) }));
  }
  // Names may contain slashes, like hub names.
  app.get('/v1/models/:id{.+}', (c) => c.json(entry(answeredName(options, c.req.param('id')))));
  app.get('/load', (c) => c.json({ server_load: definition.load(options) }));
  const build = lazily(() => `linnet ${describeSoftware().linnet}`);
  app.get('/props', async (c) =>
    c.json({
      model_alias: model.name,
      build_info: build(),
      limits,
      is_sleeping: false,
      trained_length: model.trainedLength,
      ...(await definition.properties(options)),
    }),
  );
  const documented = lazily(() => apiDocument(limits, definition, absentEndpoints));
  app.get('/openapi.json', (c) => c.json(documented()));
  app.get('/docs', () => documentPage(limits, definition));
  app.get('/tokenizer_info', () => tokenizerInfo(options));
  app.get('/metrics', async (c) => {
    c.header('content-type', metrics.registry.contentType);
    return c.body(withDialects(await metrics.registry.metrics(), metricDialects, model.name));
  });
}

function addRoute<S extends TokenServing>(app: Api, options: S & ApiOptions, route: Route<S>, secret: string): void {
  const { limits } = options;
  const { method, path, body, optional, refusals } = route;
  let schema: z.ZodType | undefined;
  app.on(method.toUpperCase(), honoPath(path), async (c: Context<ApiEnvironment>) => {
    const { raw } = c.req;
    const abort = abortedWith([raw.signal, options.end.signal], limits.timeout);
    c.set('abort', abort);
    const key = c.get('key');
    const request = { key, salt: `${secret} ${key} `, abort, params: c.req.param(), raw };
    let fields: unknown;
    if (body !== undefined) {
      // Checking a body takes a twentieth of making its schema.
      schema ??= body(limits);
      fields = checkBody(schema, await jsonBody(raw, limits.bodyBytes, options.bodies, optional), refusals);
    }
    const answer = await route.answer(options, request, fields);
    // A stream ends its request itself.
    if (!answer.headers.has(unbuffered)) abort.abort();
    return answer;
  });
}

/** Fires with a signal, or when the time is over; fired at the end of a request, it frees all of them. */
function abortedWith(signals: readonly AbortSignal[], seconds: number): AbortController {
  const controller = new AbortController();
  const abort = (): void => {
    controller.abort(signals.find(({ aborted }) => aborted)?.reason);
  };
  const timer = setTimeout(() => {
    const what = `the request took longer than ${seconds} seconds, this server's limit`;
    controller.abort(new ApiError('unavailable_error', what));
  }, seconds * 1000).unref();
  for (const signal of signals) signal.addEventListener('abort', abort);
  controller.signal.addEventListener('abort', () => {
    clearTimeout(timer);
    // Not by the option `signal` of a listener: through it, Node 20 would hold each request and its answer for ever.
    for (const signal of signals) signal.removeEventListener('abort', abort);
  });
  if (signals.some(({ aborted }) => aborted)) abort();
  return controller;
}

function honoPath(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1');
}

function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** A path as it may be reported and counted: without control characters, and not without end. */
function knownPath(path: string, known: ReadonlySet<string>): string {
  if (known.has(path)) return path;
  return ['/v1/sessions', '/v1/responses'].find((start) => path.startsWith(start)) ?? 'other';
}
