/** The dashboard of runs: a page and its API. It reads records and answers this machine only. */
import { Hono } from 'hono';
import { LinnetError } from '../errors.ts';
import { isLoopback } from '../serving/http/access.ts';
import { addPage, pageHeaders, type PageFiles } from '../serving/http/page.ts';
import { listen } from '../serving/listen.ts';
import { type WatchedRuns, watchRuns } from './watched-runs.ts';

export interface DashboardOptions {
  /** 0 takes a free one. Default 8081. */
  readonly port?: number;
  /** The page at `/`, as `readPage` gives it; without, there are only the numbers. */
  readonly page?: PageFiles;
}

/** A dashboard that listens. */
export interface RunningDashboard extends AsyncDisposable {
  readonly url: string;
}

const idPattern = /^[0-9a-f]{16}$/;

/**
 * Serves the runs of a folder.
 *
 *     GET /api/runs        a `RunList`
 *     GET /api/runs/ID     `RunCurves`; 304 if nothing is newer than the given ETag
 * @throws LinnetError `NOT_FOUND` or `PATH` for an unreadable folder, `INPUT` for a port in use
 */
export async function startDashboard(folder: string, options: DashboardOptions = {}): Promise<RunningDashboard> {
  const { port = 8081, page } = options;
  const runs = watchRuns(folder);
  await runs.list();
  const server = await listen(makeApp(runs, page), { port, requestTimeout: 10_000 });
  return { url: server.url, [Symbol.asyncDispose]: () => server.drain() };
}

function makeApp(runs: WatchedRuns, page: PageFiles | undefined): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    // Another site's page may reach this port through its own name that points here.
    if (!isLoopback((c.req.header('host') ?? '').replace(/:\d+$/, ''))) {
      return c.json({ error: { message: 'this server answers requests to localhost only' } }, 403);
    }
    await next();
    for (const [name, value] of Object.entries(pageHeaders)) c.header(name, value);
    return undefined;
  });
  app.onError((error, c) => {
    const message = error instanceof LinnetError ? error.message : 'the runs cannot be read';
    return c.json({ error: { message } }, 500);
  });
  app.notFound((c) => c.json({ error: { message: 'there is nothing here' } }, 404));
  if (page !== undefined) addPage(app, page);
  app.get('/api/runs', async (c) => {
    c.header('cache-control', 'no-store');
    return c.json(await runs.list());
  });
  app.get('/api/runs/:id', async (c) => {
    const id = c.req.param('id');
    const curves = idPattern.test(id) ? await runs.curves(id) : undefined;
    if (curves === undefined) return c.json({ error: { message: 'there is no such run' } }, 404);
    const etag = `"${curves.version}"`;
    c.header('etag', etag);
    c.header('cache-control', 'no-cache');
    return c.req.header('if-none-match') === etag ? c.body(null, 304) : c.json(curves);
  });
  return app;
}
