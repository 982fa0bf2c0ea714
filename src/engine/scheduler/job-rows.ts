/**
 * The rows of a runner: which jobs have them, which wait for them, and which had them and gave them away. Owners have equal
 * shares as far as they ask for them, and a job whose reader has stopped keeps no row that another waits for.
 */
import type { RunningJob } from '../running-job.ts';
import { FairQueue } from './fair-queue.ts';

/** Milliseconds without a sign of a reader, though events wait for it, after which others may have the rows of its job. */
const stoppedAfter = 250;

/** A job that waits for rows. */
interface Waiting {
  readonly running: RunningJob;
  readonly since: number;
  /** How many of its request's jobs wait for their first rows; absent for a job that had rows before. */
  readonly request?: { waiting: number };
}

export class JobRows {
  /** Most texts at a time. */
  readonly count: number;
  /** Jobs with rows. The first of those whose prompt is unread gets the next chunk. */
  readonly live: RunningJob[] = [];
  readonly #most: number;
  readonly #queue = new FairQueue<Waiting>();
  /** Requests none of whose jobs has begun, or not all. */
  #waiting = 0;
  /** Jobs whose readers have stopped and whose rows others have. */
  readonly #parked = new Set<RunningJob>();

  /**
   * @param count most texts at a time
   * @param most requests that wait
   */
  constructor(count: number, most: number) {
    this.count = count;
    this.#most = most;
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Texts that have a row. */
  get active(): number {
    return this.live.reduce((sum, { width }) => sum + width, 0);
  }

  /** Whether one more request would find no place to wait. */
  get isFull(): boolean {
    // Free rows take requests at once: only the requests beyond them wait.
    return this.#waiting >= this.#most + Math.max(0, this.count - this.active);
  }

  /** All jobs: those with rows, those that gave them away, those that wait. */
  get all(): readonly RunningJob[] {
    return [...this.live, ...this.#parked, ...[...this.#queue].map(({ running }) => running)];
  }

  /** Adds the jobs of one request, which wait as one. */
  add(jobs: readonly RunningJob[]): void {
    const request = { waiting: jobs.length };
    if (jobs.length > 0) this.#waiting++;
    for (const running of jobs) {
      this.#queue.push(running.owner, { running, since: performance.now(), request }, running.job.priority);
    }
  }

  /**
   * Gives rows to jobs that wait, as far as there are any.
   * @param begin called with each job that has its first row, and the seconds it waited
   * @param giveUp called with jobs whose readers have stopped for longest, where too many have
   */
  admit(begin: (running: RunningJob, seconds: number) => void, giveUp: (running: RunningJob) => void): void {
    for (const running of this.#parked) {
      if (running.events.unreadFor > 0) continue;
      this.#parked.delete(running);
      this.#putBack(running);
    }
    for (;;) {
      const next = this.#queue.peek((owner) => this.#heldBy(owner));
      if (next === undefined || !this.#makeRoom(next.running)) break;
      this.#take(next);
      this.live.push(next.running);
      if (next.request !== undefined) begin(next.running, (performance.now() - next.since) / 1000);
    }
    for (const running of this.#parked) if (this.#parked.size > this.#most) giveUp(running);
  }

  /** Whether a job gave its rows away. */
  isParked(running: RunningJob): boolean {
    return this.#parked.has(running);
  }

  /** Removes a job, wherever it is. Whether it had begun. */
  remove(running: RunningJob): boolean {
    const place = this.live.indexOf(running);
    if (place >= 0) this.live.splice(place, 1);
    if (place >= 0 || this.#parked.delete(running)) return true;
    const waiting = [...this.#queue].find((other) => other.running === running);
    if (waiting !== undefined) this.#take(waiting);
    return waiting?.request === undefined;
  }

  /**
   * Frees rows for a job where it can. Jobs whose readers have stopped give theirs up, and so do jobs of an owner that would
   * still have at least as many rows as the owner of the new job: the last to begin first.
   */
  #makeRoom({ owner, width }: RunningJob): boolean {
    let free = this.count - this.active;
    if (free >= width) return true;
    const giving = this.live.filter(hasStopped);
    free += giving.reduce((sum, running) => sum + running.width, 0);
    const held = new Map<string, number>();
    const heldBy = (other: string): number => held.get(other) ?? this.#heldBy(other);
    for (const running of this.live.toReversed()) {
      if (free >= width) break;
      const left = heldBy(running.owner) - running.width;
      if (running.owner === owner || hasStopped(running) || left < heldBy(owner) + width) continue;
      held.set(running.owner, left);
      giving.push(running);
      free += running.width;
    }
    if (free < width) return false;
    for (const running of giving) {
      this.live.splice(this.live.indexOf(running), 1);
      if (hasStopped(running)) this.#parked.add(running);
      else this.#putBack(running);
    }
    return true;
  }

  #putBack(running: RunningJob): void {
    this.#queue.pushBack(running.owner, { running, since: performance.now() });
  }

  #heldBy(owner: string): number {
    return this.live.reduce((sum, running) => sum + (running.owner === owner ? running.width : 0), 0);
  }

  #take(waiting: Waiting): void {
    this.#queue.remove(waiting.running.owner, waiting);
    if (waiting.request !== undefined && --waiting.request.waiting === 0) this.#waiting--;
  }
}

/** Whether the reader of a job takes no events. */
function hasStopped({ events }: RunningJob): boolean {
  return events.full || events.unreadFor > stoppedAfter;
}
