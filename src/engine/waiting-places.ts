/** Places to wait, which owners share: where all are taken, an owner with few gets one of the owner with most. */

/** A job that waits for its rows. */
export interface Waiting<Job> {
  readonly running: Job;
  readonly priority: number;
  readonly since: number;
  /** Its request: how many of its jobs wait for their first rows; absent for a job that had rows before. */
  readonly request?: { waiting: number };
}

/**
 * The jobs to drop for a request of an owner: the newest request that waits of the owner with most of them; undefined where the
 * owner itself would then have as many. A request of which a job has begun is not dropped.
 */
export function waitingToDrop<Job extends { readonly owner: string }>(
  queue: readonly Waiting<Job>[],
  owner: string,
): readonly Job[] | undefined {
  const requests = new Map<object, { owner: string; since: number; jobs: Job[] }>();
  for (const { running, request, since } of queue) {
    if (request === undefined) continue;
    const entry = requests.get(request) ?? { owner: running.owner, since, jobs: [] };
    entry.jobs.push(running);
    requests.set(request, entry);
  }
  const counts = new Map<string, number>();
  for (const entry of requests.values()) counts.set(entry.owner, (counts.get(entry.owner) ?? 0) + 1);
  const [largest] = [...counts].sort(([, a], [, b]) => b - a);
  if (largest === undefined || largest[0] === owner || (counts.get(owner) ?? 0) + 1 >= largest[1]) return undefined;
  const whole = [...requests].filter(
    ([request, { owner: of, jobs }]) => of === largest[0] && countOf(request) === jobs.length,
  );
  return whole.sort(([, a], [, b]) => b.since - a.since)[0]?.[1].jobs;
}

function countOf(request: object): unknown {
  return 'waiting' in request ? request.waiting : undefined;
}
