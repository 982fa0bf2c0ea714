/** Requests to the server that the page came from; see src/runs/server.ts for the answers. */
import * as z from 'zod/mini';
import type { RunCurves, RunList } from '../../src/runs/watched-runs.ts';

const number = z.nullable(z.number());
const text = z.nullable(z.string());
const lastValue = z.nullable(z.union([z.number(), z.string(), z.boolean()]));

const runSchema = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.string(),
  model: text,
  mixer: text,
  state: z.enum(['running', 'finished', 'interrupted', 'failed', 'lost']),
  error: text,
  unit: z.enum(['steps', 'trials']),
  steps: number,
  totalSteps: number,
  loss: number,
  heldOutLoss: number,
  perplexity: number,
  tokens: number,
  tokensPerSecond: number,
  seconds: z.number(),
  started: z.string(),
  machine: z.string(),
  command: z.string(),
  data: text,
  seed: number,
  commit: text,
  versions: z.string(),
});
const listSchema = z.object({
  folder: z.string(),
  runs: z.array(runSchema),
  unreadable: z.array(z.object({ name: z.string(), reason: z.string() })),
  isComplete: z.boolean(),
});
const curveSchema = z.object({ x: z.array(z.number()), y: z.array(z.number()) });
const curvesSchema = z.object({
  id: z.string(),
  name: z.string(),
  version: z.string(),
  groups: z.array(
    z.object({
      ...{ name: z.string(), quantity: z.string() },
      ...{ curves: z.record(z.string(), curveSchema), last: z.record(z.string(), lastValue) },
    }),
  ),
});

async function ask(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  const response = await fetch(`.${path}`, { headers });
  if (response.ok || response.status === 304) return response;
  throw new Error(`The server answers ${response.status} to ${path}.`);
}

/** All runs. @throws Error if the server does not answer */
export async function askRuns(): Promise<RunList> {
  return listSchema.parse(await (await ask('/api/runs')).json());
}

/** Requests curves of runs; unchanged ones come from the cache. */
export class CurveClient {
  readonly #known = new Map<string, { readonly etag: string; readonly curves: RunCurves }>();

  /** Curves of these runs, the same objects while unchanged; vanished runs are left out. */
  async ask(ids: readonly string[]): Promise<RunCurves[]> {
    const found = await Promise.all(ids.map((id) => this.#askOne(id).catch(() => undefined)));
    return found.flatMap((curves) => curves ?? []);
  }

  async #askOne(id: string): Promise<RunCurves> {
    const before = this.#known.get(id);
    const response = await ask(`/api/runs/${id}`, before === undefined ? {} : { 'if-none-match': before.etag });
    if (response.status === 304 && before !== undefined) return before.curves;
    const curves = curvesSchema.parse(await response.json());
    this.#known.set(id, { etag: response.headers.get('etag') ?? '', curves });
    return curves;
  }
}
