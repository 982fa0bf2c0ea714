/**
 * What every API of a server has around its own endpoints: keys, rates, limits, errors, logs, metrics, the web page, and
 * what the model and the API say of themselves. It is one function from requests to responses, and needs no socket.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { cors } from 'hono/cors';
import { methodNotAllowed } from 'hono/method-not-allowed';
import type { Logger } from 'pino';
import { describeSoftware } from '../../report/provenance.ts';
import { type ApiKeys, checkHost, type RequestRate } from './access.ts';
import { apiDocument, documentPage, type DocumentedApi } from './api-document.ts';
import { ApiError, asApiError } from './api-error.ts';
import type { JsonEndpoint } from './json-endpoint.ts';
import { jsonBody } from './body.ts';
import { type MetricDialect, withDialects } from './metric-names.ts';
import type { ServerMetrics } from './metrics.ts';
import { addPage, type PageFiles } from './page.ts';
import type { TokenServing } from './request-context.ts';
import { tokenizerInfo } from './token-routes.ts';

/** What an API is made of besides what its endpoints need. */
export interface FrameOptions extends TokenServing {
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
  /** Servers under whose names measurements appear too. Default none. */
  readonly metricDialects?: readonly MetricDialect[];
  /** The web page at `/`; undefined for none. */
  readonly page?: PageFiles;
}

/** What a kind of server says of itself. */
export interface FrameFacts {
  /** `meta` of the model in lists of models. */
  readonly meta: () => object;
  /** Fields of /props besides those that all servers have. */
  readonly properties: () => object;
  readonly document: DocumentedApi;
}

export interface ApiEnvironment {
  Variables: { key: string; requestId: string; controller: AbortController };
}

export type Api = Hono<ApiEnvironment>;

/** Endpoints of every server that take nothing. */
const described = ['/metrics', '/props', '/tokenizer_info', '/openapi.json', '/docs'];

/** What anyone may ask. */
const open = new Set(['/health', '/v1/health', '/v1/models', '/models']);

/** Makes an API without endpoints of its own, which are to be added. */
export function createFrame(options: FrameOptions, { meta, properties, document }: FrameFacts): Api {
  const { keys, rate, metrics, log, limits, model } = options;
  const app = new Hono<ApiEnvironment>();
  const known = [...Object.keys(document.endpoints), ...open, ...document.absent, ...described];

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
    metrics.answered(knownPath(c.req.path, known), status, seconds);
    // Never the body: what users write is not for logs.
    log.info({
      requestId,
      method: c.req.method,
      path: knownPath(c.req.path, known),
      status,
      seconds,
      key: c.get('key'),
    });
  });

  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        const allow = methods.join(', ');
        const { body, status } = new ApiError('method_not_allowed_error', `this address answers ${allow} only`);
        return c.json(body, status, { allow });
      },
    }),
  );

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
    metrics.rejected(known.type);
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
  const entry = () => ({ id: model.name, object: 'model', created: model.created, owned_by: 'linnet', meta: meta() });
  for (const path of ['/v1/models', '/models']) {
    app.get(path, () => Response.json({ object: 'list', data: [entry()] }));
  }
  app.get('/v1/models/:id', (c) => {
    if (c.req.param('id') !== model.name) throw new ApiError('not_found_error', 'there is no such model here');
    return Response.json(entry());
  });
  const build = lazily(() => `linnet ${describeSoftware().linnet}`);
  app.get('/props', () =>
    Response.json({
      ...{ model_alias: model.name, build_info: build(), limits, is_sleeping: false },
      ...properties(),
    }),
  );
  const documented = lazily(() => apiDocument(limits, document));
  app.get('/openapi.json', () => Response.json(documented()));
  app.get('/docs', () => documentPage(limits, document));
  app.get('/tokenizer_info', () => tokenizerInfo(options));
  app.get('/metrics', async (c) => {
    c.header('content-type', metrics.registry.contentType);
    return c.body(withDialects(await metrics.registry.metrics(), options.metricDialects ?? [], model.name));
  });
  return app;
}

/** Adds endpoints that take JSON, and says of others that they are not here. */
export function addEndpoints<S extends TokenServing>(
  app: Api,
  serving: S & Pick<FrameOptions, 'secret'>,
  endpoints: Readonly<Record<string, JsonEndpoint<S>>>,
  absent: readonly string[],
): void {
  const { limits, secret = randomBytes(16).toString('hex') } = serving;
  for (const [path, { answer }] of Object.entries(endpoints)) {
    app.post(path, async (c) => {
      const controller = c.get('controller');
      const body = await jsonBody(c.req.raw, limits.bodyBytes);
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
      return answer(serving, { body, key, salt: `${secret} ${key} `, abort: controller });
    });
  }
  for (const path of absent) {
    app.all(path, () => {
      throw new ApiError('not_supported_error', `this server has no ${path}`);
    });
  }
}

/** A value that is made when it is first asked for. */
function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** A path as it may be reported and counted: without control characters, and not without end. */
function knownPath(path: string, known: readonly string[]): string {
  if (known.includes(path)) return path;
  return ['/v1/sessions', '/v1/responses', '/slots'].find((start) => path.startsWith(start)) ?? 'other';
}
