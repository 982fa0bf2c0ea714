/**
 * A runner's rows: which jobs have them, wait for them, or had them and gave them up. Owners have equal shares, as far as they
 * ask for them; a job whose reader has stopped keeps no row that another waits for.
 */
import type { EventQueue, RunningJob } from './running-job.ts';

/** Milliseconds without a sign of a reader, while events wait for it, after which others may take its job's rows. */
const stoppedAfter = 250;

/** A job's properties that its rows depend on. */
export type RowHolder = Pick<RunningJob, 'owner' | 'width' | 'chunkLength'> & {
  readonly events: Pick<EventQueue, 'isFull' | 'unreadFor'>;
  readonly job: { readonly priority?: number };
};

/** Milliseconds a job waits before it gets a row from its owner's other jobs. */
const ownPatience = 2_000;
/** Milliseconds a job keeps a row before its owner's other jobs may get it. */
const ownTurn = 1_000;

/** A job waiting for its rows. */
interface Waiting<Job> {
  readonly running: Job;
  readonly priority: number;
  readonly since: number;
  /** Its request: how many of its jobs wait for their first rows; absent for a job that had rows earlier. */
  readonly request?: { waiting: number };
}

/** A job with its first row, and the seconds it waited. */
interface BegunJob<Job> {
  readonly running: Job;
  readonly seconds: number;
}

/** Jobs that begin, and jobs to abandon: those whose readers stopped longest ago, if too many have. */
interface Admission<Job> {
  readonly begun: readonly BegunJob<Job>[];
  readonly stopped: readonly Job[];
}

export class JobRows<Job extends RowHolder = RunningJob> {
  /** Most texts at a time. */
  readonly count: number;
  /** Jobs with rows. */
  readonly live: Job[] = [];
  /** Requests with jobs that have not begun. */
  waiting = 0;
  /** Waiting jobs: lower priorities first, then older ones. */
  readonly queue: Waiting<Job>[] = [];
  /** Jobs whose readers have stopped and whose rows others have. */
  readonly parked = new Set<Job>();
  readonly #most: number;
  /** When each owner last read a part of a prompt, counted in such parts. */
  readonly #turns = new Map<string, number>();
  /** When each job last got its rows. */
  readonly #begun = new WeakMap<Job, number>();
  #clock = 0;

  /**
   * @param count most texts at a time
   * @param most waiting requests
   */
  constructor(count: number, most: number) {
    this.count = count;
    this.#most = most;
  }

  /** Texts with a row. */
  get active(): number {
    return this.live.reduce((sum, { width }) => sum + width, 0);
  }

  /** The share of rows taken, or of rowless states that may be held, whichever is larger: 0 to 1. */
  get usage(): number {
    return Math.max(this.active / this.count, Math.min(1, this.parked.size / Math.max(1, this.#most)));
  }

  /** The jobs that an owner's request would displace from the queue; undefined if it gets no place. */
  displacedBy(owner: string): readonly Job[] | undefined {
    // Free rows take requests immediately: only requests beyond them wait.
    const isFull = this.waiting >= this.#most + Math.max(0, this.count - this.active);
    return isFull ? waitingToDrop(this.queue, owner) : [];
  }

  /** All jobs: with rows, without them, and waiting. */
  get all(): readonly Job[] {
    return [...this.live, ...this.parked, ...this.queue.map(({ running }) => running)];
  }

  /** Adds one request's jobs, which wait as one. */
  add(jobs: readonly Job[]): void {
    const request = { waiting: jobs.length };
    if (jobs.length > 0) this.waiting++;
    for (const running of jobs) {
      this.#queue({ running, priority: running.job.priority ?? 0, since: performance.now(), request });
    }
  }

  /** Gives available rows to waiting jobs. */
  admit(): Admission<Job> {
    const begun: BegunJob<Job>[] = [];
    for (const running of this.parked) {
      if (running.events.unreadFor > 0) continue;
      this.parked.delete(running);
      this.#putBack(running);
    }
    for (let next = this.#next(); next !== undefined && this.#makeRoom(next.running); next = this.#next()) {
      this.#give(next, begun);
    }
    if (this.queue.length > 0) this.#shareWithin(begun);
    return { begun, stopped: [...this.parked].slice(0, Math.max(0, this.parked.size - this.#most)) };
  }

  /**
   * The jobs that read their prompts' next chunks in one step: the first, and later ones that fit, so that sixteen short
   * prompts that arrive together take about the time of one or two. Owners take turns, and so do an owner's jobs.
   * @param unread jobs with rows that have a chunk to read; not empty
   * @param chunk most tokens per chunk and per step, including padding: all of a step's trees are as large as the largest
   * @param together whether several may share a step
   */
  takeTurns(unread: readonly Job[], chunk: number, together: boolean): Job[] {
    const sharing: Job[] = [];
    let longest = 0;
    for (const running of unread.toSorted(
      (a, b) => (this.#turns.get(a.owner) ?? -1) - (this.#turns.get(b.owner) ?? -1),
    )) {
      const length = Math.max(longest, running.chunkLength());
      if (sharing.length > 0 && (!together || (sharing.length + 1) * length > chunk)) continue;
      sharing.push(running);
      longest = length;
    }
    for (const running of sharing) {
      this.live.splice(this.live.indexOf(running), 1);
      this.live.push(running);
      this.#turns.set(running.owner, this.#clock++);
    }
    return sharing;
  }

  /** Removes a job, wherever it is. Returns whether it had begun. */
  remove(running: Job): boolean {
    const place = this.live.indexOf(running);
    const waiting = this.queue.find((other) => other.running === running);
    if (place >= 0) this.live.splice(place, 1);
    else if (waiting !== undefined) this.#take(waiting);
    else this.parked.delete(running);
    if (!this.all.some(({ owner }) => owner === running.owner)) this.#turns.delete(running.owner);
    return waiting?.request === undefined;
  }

  /** The next job to begin: from the owner with the fewest rows, on ties the one whose last turn is longest ago. */
  #next(): Waiting<Job> | undefined {
    let best: { waiting: Waiting<Job>; held: number; turn: number } | undefined;
    const rows = this.#rowsByOwner();
    const seen = new Set<string>();
    for (const waiting of this.queue) {
      const { owner } = waiting.running;
      if (seen.has(owner)) continue;
      seen.add(owner);
      const [held, turn] = [rows.get(owner) ?? 0, this.#turns.get(owner) ?? -1];
      if (best === undefined || held < best.held || (held === best.held && turn < best.turn)) {
        best = { waiting, held, turn };
      }
    }
    return best?.waiting;
  }

  /**
   * Frees rows for a job if possible. Jobs whose readers have stopped give theirs up; so do jobs of an owner that would still
   * have at least as many rows as the new job's owner, the last to begin first.
   */
  #makeRoom({ owner, width }: Job): boolean {
    let free = this.count - this.active;
    if (free >= width) return true;
    const giving = this.live.filter(hasStopped);
    free += giving.reduce((sum, running) => sum + running.width, 0);
    const held = this.#rowsByOwner();
    const own = held.get(owner) ?? 0;
    for (const running of this.live.toReversed()) {
      if (free >= width) break;
      const left = (held.get(running.owner) ?? 0) - running.width;
      if (running.owner === owner || hasStopped(running) || left < own + width) continue;
      held.set(running.owner, left);
      giving.push(running);
      free += running.width;
    }
    if (free < width) return false;
    for (const running of giving) {
      this.live.splice(this.live.indexOf(running), 1);
      if (hasStopped(running)) this.parked.add(running);
      else this.#putBack(running);
    }
    return true;
  }

  #give(next: Waiting<Job>, begun: BegunJob<Job>[]): void {
    const now = performance.now();
    this.#take(next);
    this.live.push(next.running);
    this.#begun.set(next.running, now);
    if (next.request !== undefined) begun.push({ running: next.running, seconds: (now - next.since) / 1000 });
  }

  /**
   * An owner's jobs take turns if they wait long: a text for a client that reads slowly, or not at all, would keep its row
   * until buffers are full. The job with the longest-held row goes to the end of the queue.
   */
  #shareWithin(begun: BegunJob<Job>[]): void {
    const now = performance.now();
    for (const waiting of this.queue.filter(({ since }) => now - since > ownPatience)) {
      // Begun jobs hold states: at most as many of them wait as requests may.
      const held = this.parked.size + this.queue.filter(({ request }) => request === undefined).length;
      if (waiting.request !== undefined && held >= this.#most) continue;
      const { owner, width, job } = waiting.running;
      const since = (running: Job): number => this.#begun.get(running) ?? now;
      const [giving] = this.live
        .filter((running) => running.owner === owner && running.width >= width && now - since(running) > ownTurn)
        .filter((running) => (running.job.priority ?? 0) >= (job.priority ?? 0))
        .sort((a, b) => since(a) - since(b));
      if (giving === undefined) continue;
      this.live.splice(this.live.indexOf(giving), 1);
      this.#give(waiting, begun);
      this.#queue({ running: giving, priority: giving.job.priority ?? 0, since: now });
    }
  }

  #queue(waiting: Waiting<Job>): void {
    const place = this.queue.findIndex((other) => other.priority > waiting.priority);
    this.queue.splice(place < 0 ? this.queue.length : place, 0, waiting);
  }

  #putBack(running: Job): void {
    this.queue.unshift({ running, priority: Number.NEGATIVE_INFINITY, since: performance.now() });
  }

  #rowsByOwner(): Map<string, number> {
    const rows = new Map<string, number>();
    for (const { owner, width } of this.live) rows.set(owner, (rows.get(owner) ?? 0) + width);
    return rows;
  }

  #take(waiting: Waiting<Job>): void {
    this.queue.splice(this.queue.indexOf(waiting), 1);
    if (waiting.request !== undefined && --waiting.request.waiting === 0) this.waiting--;
  }
}

/** Whether a job's reader takes no events. */
function hasStopped({ events }: RowHolder): boolean {
  return events.isFull || events.unreadFor > stoppedAfter;
}

/**
 * The jobs to drop for an owner's request: the newest waiting request of the owner with most of them; undefined if the
 * requesting owner would then have as many. Never drops a request with a job that has begun.
 */
function waitingToDrop<Job extends { readonly owner: string }>(
  queue: readonly Waiting<Job>[],
  owner: string,
): readonly Job[] | undefined {
  const requests = new Map<{ readonly waiting: number }, { owner: string; since: number; jobs: Job[] }>();
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
    ([request, entry]) => entry.owner === largest[0] && request.waiting === entry.jobs.length,
  );
  return whole.sort(([, a], [, b]) => b.since - a.since)[0]?.[1].jobs;
}
