/**
 * The text engine: jobs in, events out. Continuous batching in one loop: every iteration reads a chunk of one prompt, or of
 * several short ones, and runs one round of all texts. The loop has no thread: a reader that waits for an event runs the next
 * iteration, and readers waiting at the same time share it. So a single text is never ahead of its reader.
 *
 * With constant-size states all rows cost the same, so admission goes by count: no paging and no padding. A job may be parked
 * between two rounds and resume later: if its reader has stopped, or another owner has fewer rows.
 */
import { AdaptiveSpeculation, roundPacing } from '../decoding/speculation/adaptive-speculation.ts';
import { LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import { eventLoopTurn } from '../runtime/program.ts';
import type { StepEngine, StepOutput, StepRequest, StepWeights } from '../decoding/step-engine.ts';
import { LinnetError, OverloadError } from '../errors.ts';
import { JobRows } from './job-rows.ts';
import { cancelled, type JobSurroundings, RunningJob } from './running-job.ts';
import type { RunningText } from './running-text.ts';
import type { PrefixCache } from './text/prefix-cache.ts';
import type { RunnerOptions, TextJob, TextRun } from './text-job.ts';

/** Runs jobs on an engine, which remains the caller's. */
export class Runner implements AsyncDisposable {
  readonly engine: StepEngine;
  /** Most texts at a time. */
  readonly parallel: number;
  /** Whether prompts and texts share no steps. */
  readonly deterministic: boolean;
  /** States of prefixes to keep. */
  readonly prefixes: PrefixCache | undefined;
  /** What drafters learned, by jobs' salts. */
  readonly learned: LearnedByOwner;
  readonly #around: JobSurroundings;
  readonly #closingTimeout: number;
  readonly #rows: JobRows;
  #iteration: Promise<void> | undefined;
  #closing = false;
  #wake: (() => void) | undefined;
  /** Whether anything happened since the loop last looked. */
  #woken = false;
  /** Whether a job may have been cancelled, or a reader may have timed out. */
  #drops = false;

  constructor(engine: StepEngine, options: RunnerOptions = {}) {
    const { tokenizer, prefixes, mtp, drafter = 'off', observer = {}, parallel = 8, maxQueue = 64 } = options;
    const { deterministic = false, readerBytes = 64 << 10, learned = new LearnedByOwner() } = options;
    const { chunk = engine.promptChunk, readerTimeout = 30_000, closingTimeout = 5_000 } = options;
    const pacing = new AdaptiveSpeculation(roundPacing, learned.costs);
    this.engine = engine;
    this.parallel = parallel;
    this.deterministic = deterministic;
    this.prefixes = prefixes;
    this.learned = learned;
    const shared = { tokenizer, prefixes, mtp, drafter, learned, deterministic, observer, chunk, parallel };
    const reader = { readerBytes, readerTimeout, onLate: this.#turn, onRoom: () => this.#notice() };
    this.#around = { ...shared, ...reader, engine, pacing };
    this.#closingTimeout = closingTimeout;
    this.#rows = new JobRows(parallel, maxQueue);
  }

  /** Waiting requests. */
  get waiting(): number {
    return this.#rows.waiting;
  }

  /** Texts being read or decoded. */
  get active(): number {
    return this.#rows.active;
  }

  /** See `JobRows.usage`. */
  get usage(): number {
    return this.#rows.usage;
  }

  /**
   * Refuses an owner's request that would wait in vain.
   * @returns the waiting jobs that it would displace
   * @throws OverloadError
   */
  checkRoom(owner = ''): readonly RunningJob[] {
    if (this.#closing) throw new OverloadError('closing');
    const displaced = this.#rows.displacedBy(owner);
    if (displaced === undefined) throw new OverloadError('full');
    return displaced;
  }

  /**
   * Adds a job. It proceeds while its events, or other jobs', are awaited; leaving the loop over them ends it.
   *
   * @throws OverloadError when too many requests wait; LinnetError `INPUT` for more texts than run at a time, stop strings
   *   without a tokenizer, or a state that has read the whole prompt or is in use by another text; `CONFIG` for sampling
   *   settings out of range. Later `INPUT` for tokens outside the vocabulary, `MISMATCH` for another model's state, `RUNTIME`
   *   if the engine fails or returns logits that are not numbers, `ABORTED` for a reader that lagged too long
   * @example
   * ```ts
   * const runner = new Runner(engine, { tokenizer });
   * for await (const event of runner.submit({ prompt: { tokens }, maxTokens: 20 })) {
   *   if (event.type === 'tokens') process.stdout.write(event.text);
   * }
   * ```
   */
  submit(job: TextJob): TextRun {
    return this.submitAll([job])[0];
  }

  /** Adds one request's jobs, which wait as one. Errors like `submit`; no job is added then. */
  submitAll(jobs: readonly TextJob[]): TextRun[] {
    const displaced = this.checkRoom(jobs[0]?.owner);
    const all: RunningJob[] = [];
    try {
      for (const job of jobs) all.push(new RunningJob(job, this.#around));
    } catch (error) {
      for (const running of all) running.end(error);
      throw error;
    }
    for (const running of displaced) this.#leave(running, new OverloadError('full'));
    this.#rows.add(all);
    const runs: TextRun[] = [];
    for (const running of all) {
      const { signal } = running.job;
      signal?.addEventListener('abort', this.#turn, { once: true });
      this.#drops ||= signal?.aborted === true;
      runs.push(this.#events(running));
    }
    this.#notice();
    return runs;
  }

  /** Takes no more jobs, and resolves when the existing ones have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#turn();
    while (this.#rows.all.length > 0) await this.#iterate();
  }

  /** Same as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#events(running: RunningJob): TextRun {
    try {
      for (;;) {
        const event = running.events.shift();
        if (event !== undefined) yield event;
        else if (running.ended) return;
        else {
          if (this.#rows.parked.has(running)) this.#notice();
          await this.#iterate();
        }
      }
    } finally {
      if (!running.ended) {
        await this.#iteration;
        this.#leave(running, cancelled());
      }
    }
  }

  #notice(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** An iteration without a reader: drops jobs that were cancelled or abandoned. */
  readonly #turn = (): void => {
    this.#drops = true;
    this.#notice();
    // Readers get a failure from the same promise or the next.
    this.#iterate().catch(() => undefined);
  };

  /** The current iteration, or the next. */
  #iterate(): Promise<void> {
    this.#iteration ??= this.#work();
    return this.#iteration;
  }

  async #work(): Promise<void> {
    try {
      // The caller runs first, so that jobs that arrive together start together.
      await eventLoopTurn();
      this.#woken = false;
      if (this.#drops || this.#closing) await this.#dropCancelled();
      if (this.#rows.queue.length > 0 || this.#rows.parked.size > 0) {
        const { begun, stopped } = this.#rows.admit();
        for (const { running, seconds } of begun) void this.#begin(running, seconds);
        for (const running of stopped) this.#leave(running, cancelled());
      }
      const unread: RunningJob[] = [];
      for (const running of this.#rows.live) if (running.reads && !running.events.isFull) unread.push(running);
      if (unread.length > 0) await this.#readPrompt(unread);
      const decoded = await this.#decode();
      if (unread.length === 0 && !decoded && !this.#woken) await this.#idle();
    } finally {
      this.#iteration = undefined;
    }
  }

  /** Waits until a reader has taken something, a job arrived or left, or a reader has timed out. */
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

  #patienceLeft(running: RunningJob): number {
    return running.events.patience(this.#closing ? this.#closingTimeout : Infinity);
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

  async #begin(running: RunningJob, seconds: number): Promise<void> {
    this.#around.observer.admitted?.(seconds);
    try {
      await running.prepare();
      this.#notice();
    } catch (error) {
      this.#leave(running, error);
    }
  }

  /** Reads one chunk, of one prompt or of several short ones. */
  async #readPrompt(unread: readonly RunningJob[]): Promise<void> {
    const { engine, observer, chunk } = this.#around;
    const sharing = this.#rows.takeTurns(unread, chunk, !this.deterministic);
    const started = performance.now();
    await runRound(engine, sharing, 'prompt');
    let tokens = 0;
    for (const running of sharing) {
      if (running.failure === undefined) tokens += running.requests[0].tree.size;
      if (running.failure !== undefined || running.done) this.#leave(running, running.failure);
    }
    observer.chunk?.(tokens, (performance.now() - started) / 1000);
  }

  /** One round of all texts whose readers keep up. */
  async #decode(): Promise<boolean> {
    const { engine, pacing, observer } = this.#around;
    const texts: RunningText[] = [];
    const jobs: RunningJob[] = [];
    for (const running of this.#rows.live) {
      if (running.events.isFull) continue;
      for (const text of running.texts) {
        texts.push(text);
        jobs.push(running);
      }
    }
    if (texts.length === 0) return false;
    if (pacing.drafts) {
      pacing.begin(
        texts.length,
        texts.flatMap(({ parts }) => parts.pace ?? []),
      );
    }
    const started = performance.now();
    if (this.deterministic) for (const text of texts) await runRound(engine, [text]);
    else await runRound(engine, texts);
    if (pacing.drafts) pacing.end((performance.now() - started) / 1000);
    let tokens = 0;
    for (const [index, text] of texts.entries()) {
      const running = jobs[index];
      if (text.failure !== undefined) this.#leave(running, text.failure);
      if (running.ended || !this.#rows.live.includes(running)) continue;
      try {
        await running.took(text);
        tokens += text.event?.tokens.length ?? 0;
        if (running.done) this.#leave(running);
      } catch (error) {
        this.#leave(running, error);
      }
    }
    observer.round?.(texts.length, (performance.now() - started) / 1000, tokens);
    return true;
  }

  #leave(running: RunningJob, failure?: unknown): void {
    if (running.ended) return;
    const { job, isRead } = running;
    const begun = this.#rows.remove(running);
    const gone = failure instanceof LinnetError && failure.code === 'ABORTED';
    if (gone || job.signal?.aborted === true) {
      this.#around.observer.cancelled?.(begun ? (isRead ? 'decode' : 'prompt') : 'queue');
    }
    // Jobs that share a signal share its listener.
    if (this.#rows.all.every((other) => other.job.signal !== job.signal)) {
      job.signal?.removeEventListener('abort', this.#turn);
    }
    running.end(failure);
    this.#notice();
  }
}

/** A part of a round: a text to decode, or a prompt chunk to read. */
interface RoundPart {
  /** Nodes it wants to run, once it has planned. */
  readonly requests: readonly StepRequest[];
  /** The round's error, which ends the job. */
  failure: unknown;
  plan(): Promise<void>;
  conclude(outputs: readonly StepOutput[]): Promise<void>;
}

/** One round: every part plans, all plans run in one step, and every part concludes. Texts may differ in method, length and sampler. */
async function runRound(engine: StepEngine, parts: readonly RoundPart[], weights?: StepWeights): Promise<void> {
  const plans: Promise<void>[] = [];
  for (const part of parts) {
    plans.push(
      part.plan().catch((reason: unknown) => {
        part.failure = reason;
      }),
    );
  }
  await Promise.all(plans);
  await runPlans(engine, parts, weights);
}

/**
 * Runs the parts' plans in one step. A fault stays with its owner: if the common step fails, each plan runs by itself, which is
 * safe since steps change no state.
 */
async function runPlans(engine: StepEngine, parts: readonly RoundPart[], weights?: StepWeights): Promise<void> {
  const requests: StepRequest[] = [];
  for (const part of parts) requests.push(...part.requests);
  let outputs: readonly StepOutput[] = [];
  try {
    if (requests.length > 0) outputs = await engine.step(requests, weights);
  } catch (reason) {
    if (parts.length === 1) parts[0].failure = reason;
    else await Promise.all(parts.map((part) => runPlans(engine, [part], weights)));
    return;
  }
  const ends: Promise<void>[] = [];
  let taken = 0;
  for (const part of parts) {
    const own = outputs.slice(taken, (taken += part.requests.length));
    if (part.failure !== undefined) continue;
    ends.push(
      part.conclude(own).catch((reason: unknown) => {
        part.failure = reason;
      }),
    );
  }
  await Promise.all(ends);
}
