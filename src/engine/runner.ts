/**
 * The text engine: jobs in, events out. Continuous batching in one loop, whose every iteration reads one chunk of a prompt, or
 * of several short ones, and runs one round of all texts. The loop has no thread of its own: a reader that waits for an event
 * runs the next iteration, and readers that wait at the same time share it. So one text is never ahead of its reader.
 *
 * With a state of constant size all rows cost the same, so that admission goes by count: no paging and no padding. A job may
 * be parked between two rounds and go on later: where its reader has stopped, or where another owner has fewer rows.
 */
import { eventLoopTurn } from '../decoding/event-loop.ts';
import { promptChunk, type StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { decodeRound } from './round.ts';
import type { RunningText } from './running-text.ts';
import { cancelled, type JobSurroundings, RunningJob } from './running-job.ts';
import { readChunks, sharingJobs } from './scheduler/prompt-chunks.ts';
import { RoundPacing } from './scheduler/round-pacing.ts';
import { JobRows } from './scheduler/job-rows.ts';
import { type MethodMaker, methodsByName } from './text/decoding-choice.ts';
import type { PrefixCache } from './text/prefix-cache.ts';
import type { RunnerObserver, TextEvent, TextJob } from './text-job.ts';

/** How jobs are run, and how many at a time. */
export interface RunnerOptions {
  /** Makes characters of tokens. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
  /** Most texts that are read or decoded at a time. Default 8. */
  readonly parallel?: number;
  /** Most requests that wait: a job, or the jobs of one `submitAll`. Default 64. */
  readonly maxQueue?: number;
  /** Tokens of a prompt that are read between two rounds. Default `promptChunk`. */
  readonly chunk?: number;
  /**
   * Whether every prompt and every text is computed by steps of its own. Kernels round differently for different numbers of
   * rows: so no bit of a text depends on the texts decoded with it. Default false.
   */
  readonly deterministic?: boolean;
  /** Bytes of events that a reader may leave waiting before its texts pause. Default 64 KiB. */
  readonly readerBytes?: number;
  /** Milliseconds after which a reader that takes nothing is given up. Default 30 s. */
  readonly readerTimeout?: number;
  /** The same once the runner closes. Default 5 s. */
  readonly closingTimeout?: number;
  /** Makes the method of texts without scores. Default: one token a round. */
  readonly method?: MethodMaker;
  /** States of beginnings that come again. Default: none are kept. */
  readonly prefixes?: PrefixCache;
  /** Told of events, for metrics. */
  readonly observer?: RunnerObserver;
}

/** The queue is full, or the runner takes no more jobs. */
export class OverloadError extends Error {
  readonly reason: 'full' | 'closing';
  constructor(reason: 'full' | 'closing') {
    super(reason === 'full' ? 'too many requests are waiting; try again later' : 'the server is shutting down');
    this.name = 'OverloadError';
    this.reason = reason;
  }
}

/** Runs jobs on an engine, which stays the caller's. */
export class Runner implements AsyncDisposable {
  readonly #around: JobSurroundings;
  readonly #options: Required<Pick<RunnerOptions, 'chunk' | 'readerTimeout' | 'closingTimeout'>>;
  readonly #rows: JobRows;
  #iteration: Promise<void> | undefined;
  #closing = false;
  #wake: (() => void) | undefined;
  /** Whether something happened since the loop last looked. */
  #woken = false;
  /** Whether a job may have been cancelled, or the time of a reader be over. */
  #drops = false;
  /** When each owner last had a prompt chunk, as a count of chunks. */
  readonly #turns = new Map<string, number>();
  #chunks = 0;

  constructor(engine: StepEngine, options: RunnerOptions = {}) {
    const { tokenizer, prefixes, method = methodsByName('off'), observer = {} } = options;
    const { deterministic = false, readerBytes = 64 << 10 } = options;
    const {
      parallel = 8,
      maxQueue = 64,
      chunk = promptChunk,
      readerTimeout = 30_000,
      closingTimeout = 5_000,
    } = options;
    const pacing = new RoundPacing();
    this.#around = { engine, tokenizer, prefixes, method, pacing, deterministic, readerBytes, observer };
    this.#options = { chunk, readerTimeout, closingTimeout };
    this.#rows = new JobRows(parallel, maxQueue);
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#rows.waiting;
  }

  /** Texts that are read or decoded. */
  get active(): number {
    return this.#rows.active;
  }

  /** Most texts at a time. */
  get parallel(): number {
    return this.#rows.count;
  }

  /** Whether prompts and texts share no steps. */
  get deterministic(): boolean {
    return this.#around.deterministic;
  }

  /** States of beginnings that are kept. */
  get prefixes(): PrefixCache | undefined {
    return this.#around.prefixes;
  }

  /** Refuses a request that would wait in vain. @throws OverloadError */
  checkRoom(): void {
    if (this.#closing) throw new OverloadError('closing');
    if (this.#rows.isFull) throw new OverloadError('full');
  }

  /**
   * Adds a job. It goes on while its events, or those of other jobs, are waited for; leaving the loop over them ends it.
   *
   * @throws OverloadError when too many requests wait; LinnetError `INPUT` for more texts than run at a time, stop strings
   *   without a tokenizer, or a state that has read the whole prompt or is in use by another text; `CONFIG` for sampling
   *   settings out of range. Later `INPUT` for tokens outside the vocabulary, `MISMATCH` for the state of another model,
   *   `RUNTIME` if the engine fails or gives logits that are no numbers, `ABORTED` for a reader that fell behind for too long
   * @example
   * ```ts
   * const runner = new Runner(engine, { tokenizer });
   * for await (const event of runner.submit({ prompt: { tokens }, maxTokens: 20 })) {
   *   if (event.type === 'tokens') process.stdout.write(event.text);
   * }
   * ```
   */
  submit(job: TextJob): AsyncGenerator<TextEvent, void, undefined> {
    return this.submitAll([job])[0];
  }

  /** Adds the jobs of one request, which wait as one. Errors as `submit`; no job is added then. */
  submitAll(jobs: readonly TextJob[]): AsyncGenerator<TextEvent, void, undefined>[] {
    this.checkRoom();
    const all: RunningJob[] = [];
    try {
      for (const job of jobs) all.push(this.#newJob(job));
    } catch (error) {
      for (const running of all) running.end(error);
      throw error;
    }
    this.#rows.add(all);
    for (const { job } of all) {
      job.signal?.addEventListener('abort', this.#turn, { once: true });
      this.#drops ||= job.signal?.aborted === true;
    }
    this.#notice();
    return all.map((running) => this.#events(running));
  }

  /** Takes no more jobs, and resolves when those there are have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#turn();
    while (this.#rows.all.length > 0) await this.#iterate();
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #newJob(job: TextJob): RunningJob {
    const { readerTimeout } = this.#options;
    if ((job.n ?? 1) > this.parallel) {
      throw new LinnetError(
        'INPUT',
        `${job.n} continuations are asked for and ${this.parallel} texts run at a time; ask for fewer`,
      );
    }
    let patience: NodeJS.Timeout | undefined;
    return new RunningJob(job, this.#around, (full) => {
      clearTimeout(patience);
      // Nobody may be waiting for events by then.
      if (full) patience = setTimeout(this.#turn, readerTimeout + 1);
      else this.#notice();
    });
  }

  async *#events(running: RunningJob): AsyncGenerator<TextEvent, void, undefined> {
    const { events } = running;
    try {
      for (;;) {
        const event = events.shift();
        if (event !== undefined) yield event;
        else if (events.ended) return;
        else {
          if (this.#rows.isParked(running)) this.#notice();
          await this.#iterate();
        }
      }
    } finally {
      if (!events.ended) {
        await this.#iteration;
        this.#leave(running, cancelled());
      }
    }
  }

  /** Something happened. */
  #notice(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** An iteration that no reader has asked for: jobs that have been cancelled or given up go. */
  readonly #turn = (): void => {
    this.#drops = true;
    this.#notice();
    // A failure is for the readers, who have it from the same promise or the next.
    this.#iterate().catch(() => undefined);
  };

  /** The iteration under way, or the next. */
  #iterate(): Promise<void> {
    this.#iteration ??= this.#run();
    return this.#iteration;
  }

  async #run(): Promise<void> {
    try {
      await this.#work();
    } finally {
      this.#iteration = undefined;
    }
  }

  async #work(): Promise<void> {
    // The caller has its turn first, so that jobs that come together start together.
    await eventLoopTurn();
    this.#woken = false;
    if (this.#drops || this.#closing) await this.#dropCancelled();
    this.#rows.admit(
      (running, seconds) => {
        this.#begin(running, seconds);
      },
      (running) => {
        this.#leave(running, cancelled());
      },
    );
    const read = await this.#readPrompt();
    const decoded = await this.#decode();
    if (!read && !decoded && !this.#woken) await this.#idle();
  }

  /** Waits until a reader has taken something, a job came or went, or the time of a reader is over. */
  async #idle(): Promise<void> {
    const { all } = this.#rows;
    if (all.length === 0) return;
    const remaining = Math.min(...all.map((running) => this.#patienceLeft(running)));
    await new Promise<void>((resolve) => {
      const timer = Number.isFinite(remaining) ? setTimeout(this.#turn, Math.max(1, remaining)) : undefined;
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  /** Milliseconds after which a reader is given up, if it stays as it is. */
  #patienceLeft({ events }: RunningJob): number {
    const { readerTimeout, closingTimeout } = this.#options;
    const left = events.full ? readerTimeout - events.fullFor : Infinity;
    return this.#closing && events.unreadFor > 0 ? Math.min(left, closingTimeout - events.unreadFor) : left;
  }

  async #dropCancelled(): Promise<void> {
    this.#drops = false;
    for (const running of this.#rows.all) {
      if (running.job.signal?.aborted === true) {
        const failure = await running.abort().catch((error: unknown) => error);
        this.#leave(running, failure);
      } else if (this.#patienceLeft(running) <= 0) this.#leave(running, cancelled());
    }
  }

  #begin(running: RunningJob, seconds: number): void {
    this.#around.observer.admitted?.(seconds);
    running.prepare().then(
      () => {
        this.#notice();
      },
      (error: unknown) => {
        this.#leave(running, error);
      },
    );
  }

  /** Reads one chunk: of one prompt, or of several short ones. Owners take turns, and so do the prompts of an owner. */
  async #readPrompt(): Promise<boolean> {
    if (!this.#rows.live.some(({ reads }) => reads)) return false;
    const turn = ({ owner }: RunningJob): number => this.#turns.get(owner) ?? -1;
    const unread = this.#rows.live
      .filter(({ reads, events }) => reads && !events.full)
      .sort((a, b) => turn(a) - turn(b));
    if (unread.length === 0) return false;
    const { engine, deterministic, observer } = this.#around;
    const sharing = deterministic ? unread.slice(0, 1) : sharingJobs(unread, this.#options.chunk);
    for (const running of sharing) {
      this.#rows.live.splice(this.#rows.live.indexOf(running), 1);
      this.#rows.live.push(running);
      this.#turns.set(running.owner, this.#chunks++);
    }
    const started = performance.now();
    const results = await readChunks(engine, sharing, this.#options.chunk);
    let tokens = 0;
    for (const [index, result] of results.entries()) {
      const running = sharing[index];
      if (result.status === 'fulfilled') tokens += result.value;
      if (result.status === 'rejected') this.#leave(running, result.reason);
      else if (running.done) this.#leave(running);
    }
    observer.chunk?.(tokens, (performance.now() - started) / 1000);
    return true;
  }

  /** One round of all texts whose readers keep up. */
  async #decode(): Promise<boolean> {
    const { engine, deterministic, pacing, observer } = this.#around;
    const rows: { readonly running: RunningJob; readonly text: RunningText }[] = [];
    for (const running of this.#rows.live) {
      if (!running.events.full) for (const text of running.texts) rows.push({ running, text });
    }
    if (rows.length === 0) return false;
    const paces = rows.flatMap(({ text }) => text.parts.pace ?? []);
    pacing.begin(rows.length, paces);
    const started = performance.now();
    const texts = rows.map(({ text }) => text);
    const results: Awaited<ReturnType<typeof decodeRound>> = [];
    for (const together of deterministic ? texts.map((one) => [one]) : [texts]) {
      results.push(...(await decodeRound(engine, together)));
    }
    pacing.end((performance.now() - started) / 1000);
    let tokens = 0;
    for (const [index, result] of results.entries()) {
      const { running, text } = rows[index];
      if (!this.#rows.live.includes(running)) continue;
      try {
        if (result.status === 'rejected') throw result.reason;
        tokens += result.value.tokens.length;
        await running.took(text, result.value);
        if (running.done) this.#leave(running);
      } catch (error) {
        this.#leave(running, error);
      }
    }
    observer.round?.(rows.length, (performance.now() - started) / 1000, tokens);
    return true;
  }

  /** Ends a job, wherever it is. */
  #leave(running: RunningJob, failure?: unknown): void {
    if (running.events.ended) return;
    const begun = this.#rows.remove(running);
    const gone = failure instanceof LinnetError && failure.code === 'ABORTED';
    if (gone || running.job.signal?.aborted === true) this.#around.observer.cancelled?.(stageOf(running, begun));
    running.job.signal?.removeEventListener('abort', this.#turn);
    running.end(failure);
    if (!this.#rows.live.some(({ owner }) => owner === running.owner)) this.#turns.delete(running.owner);
    this.#notice();
  }
}

/** The stage of a job. */
function stageOf({ isRead }: RunningJob, begun: boolean): 'queue' | 'prompt' | 'decode' {
  if (!begun) return 'queue';
  return isRead ? 'decode' : 'prompt';
}
