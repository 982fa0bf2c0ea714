/**
 * Continuous batching: one loop in which every iteration reads one chunk of a prompt, or of several short ones, and runs one
 * round of all texts.
 *
 * With a state of constant size all rows cost the same, so that admission goes by count: no paging, no padding, no
 * pre-emption. A request that is cancelled, by its signal, is gone when the iteration under way ends; one whose reader is
 * slow pauses, and holds up nobody.
 */
import { eventLoopTurn } from '../../decoding/event-loop.ts';
import { decodeRound } from '../round.ts';
import { promptChunk, type StepEngine } from '../../decoding/step-engine.ts';
import type { TokensEvent } from '../text-generation.ts';
import { LinnetError } from '../../errors.ts';
import { EventQueue } from './event-queue.ts';
import { FairQueue } from './fair-queue.ts';
import { readChunks, sharingRequests } from './prompt-chunks.ts';
import { RoundPacing } from './round-pacing.ts';
import { RunningRequest } from './running-request.ts';
import { eventWeight, type RequestEvent, type TextRequest } from './text-request.ts';

/** Bounds of the scheduler. */
export interface SchedulerOptions {
  /** Most texts that are read or decoded at a time. Default 8. */
  readonly parallel?: number;
  /** Most requests that wait. Default 64. */
  readonly maxQueue?: number;
  /** Tokens of a prompt that are read between two rounds. Default `promptChunk`. */
  readonly chunk?: number;
  /**
   * Whether every prompt and every text is computed by steps of its own. Kernels round differently for different numbers of
   * rows: so what a text is depends in no bit on those that are at work with it. Default false.
   */
  readonly deterministic?: boolean;
  /** Bytes of events that a reader may leave waiting before its texts pause. Default 64 KiB. */
  readonly readerBytes?: number;
  /** Milliseconds after which a reader that takes nothing is given up. Default 30 s. */
  readonly readerTimeout?: number;
  /** Told what happens, for metrics. */
  readonly observer?: SchedulerObserver;
}

/** What can be observed of the scheduler. */
export interface SchedulerObserver {
  /** A round of so many texts took so many seconds and gave so many tokens. */
  round?(texts: number, seconds: number, tokens: number): void;
  /** A chunk of a prompt was read. */
  chunk?(tokens: number, seconds: number): void;
  /** A request waited so many seconds before it began. */
  admitted?(seconds: number): void;
  /** A request was cancelled while it waited, was read, or was decoded. */
  cancelled?(stage: 'queue' | 'prompt' | 'decode'): void;
}

/** The queue is full, or the scheduler takes no more requests. */
export class OverloadError extends Error {
  readonly reason: 'full' | 'closing';
  constructor(reason: 'full' | 'closing') {
    super(reason === 'full' ? 'too many requests are waiting; try again later' : 'the server is shutting down');
    this.name = 'OverloadError';
    this.reason = reason;
  }
}

interface Waiting {
  readonly running: RunningRequest;
  readonly since: number;
}

export class Scheduler {
  /** Whether texts draft, round by round. */
  readonly pacing = new RoundPacing();
  readonly #engine: StepEngine;
  readonly #options: Required<Omit<SchedulerOptions, 'observer'>>;
  readonly #observer: SchedulerObserver;
  readonly #queue = new FairQueue<Waiting>();
  /** Requests at work. The first of those whose prompt is unread gets the next chunk. */
  readonly #live: RunningRequest[] = [];
  #loop: Promise<void> | undefined;
  #closing = false;
  #wake: (() => void) | undefined;
  /** Whether something happened since the loop last looked. */
  #woken = false;
  /** When each key last had a prompt chunk, as a count of chunks. */
  readonly #turns = new Map<string, number>();
  #chunks = 0;

  constructor(engine: StepEngine, options: SchedulerOptions = {}) {
    const { observer = {}, ...bounds } = options;
    this.#engine = engine;
    this.#observer = observer;
    this.#options = {
      parallel: 8,
      maxQueue: 64,
      chunk: promptChunk,
      deterministic: false,
      readerBytes: 64 << 10,
      readerTimeout: 30_000,
      ...bounds,
    };
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#queue.size;
  }

  /** Texts that are read or decoded. */
  get active(): number {
    return this.#live.reduce((sum, { width }) => sum + width, 0);
  }

  /** Most texts at a time. */
  get parallel(): number {
    return this.#options.parallel;
  }

  /** Whether prompts and texts share no steps. */
  get deterministic(): boolean {
    return this.#options.deterministic;
  }

  /** Refuses requests that would wait in vain. @throws OverloadError */
  checkRoom(requests = 1): void {
    if (this.#closing) throw new OverloadError('closing');
    // Free rows take requests at once: only what is beyond them waits.
    const free = Math.max(0, this.#options.parallel - this.active);
    if (this.#queue.size + requests > this.#options.maxQueue + free) throw new OverloadError('full');
  }

  /**
   * Adds a request. Its events are to be read; who stops reading aborts the signal.
   *
   * @throws OverloadError when too many wait; LinnetError `INPUT` for more continuations than run at a time
   */
  submit(request: TextRequest, signal?: AbortSignal): EventQueue<RequestEvent> {
    this.checkRoom();
    const { parallel, readerBytes } = this.#options;
    if (request.choices.length > parallel) {
      throw new LinnetError(
        'INPUT',
        `${request.choices.length} continuations are asked for and ${parallel} texts run at a time; ask for fewer`,
      );
    }
    const wake = (): void => {
      this.#woken = true;
      this.#wake?.();
    };
    const events = new EventQueue(readerBytes, eventWeight, wake);
    const running = new RunningRequest(this.#engine, request, events, signal, wake);
    this.#queue.push(request.key, { running, since: performance.now() }, request.priority);
    signal?.addEventListener('abort', wake, { once: true });
    wake();
    this.#loop ??= this.#run();
    return events;
  }

  /** Takes no more requests, and resolves when those there are have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#loop;
  }

  async #run(): Promise<void> {
    // The caller has its turn first, so that requests that come together start together.
    await eventLoopTurn();
    try {
      for (;;) {
        this.#woken = false;
        this.#dropCancelled();
        this.#admit();
        if (this.#live.length === 0) break;
        await this.#start();
        const worked = [await this.#readPrompt(), await this.#decode()];
        if (worked.includes(true)) await eventLoopTurn();
        else if (!this.#woken) await this.#idle();
      }
    } finally {
      this.#loop = undefined;
    }
  }

  /** Waits until a reader has taken something, a request came or went, or the time of a reader is over. */
  async #idle(): Promise<void> {
    const remaining = Math.min(
      ...this.#live.map(({ events }) => (events.full ? this.#options.readerTimeout - events.fullFor : Infinity)),
    );
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, Math.min(remaining, this.#options.readerTimeout)));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  #dropCancelled(): void {
    for (const waiting of [...this.#queue]) {
      const { running } = waiting;
      if (running.signal?.aborted !== true) continue;
      this.#queue.remove(running.request.key, waiting);
      this.#observer.cancelled?.('queue');
      running.events.end(aborted());
    }
    for (const running of [...this.#live]) {
      const slow = running.events.fullFor >= this.#options.readerTimeout;
      if (running.signal?.aborted !== true && !slow) continue;
      this.#observer.cancelled?.(running.reading ? 'prompt' : 'decode');
      this.#leave(running, aborted());
    }
  }

  #admit(): void {
    for (;;) {
      const next = this.#queue.peek((key) => this.#heldBy(key));
      if (next === undefined || this.active + next.running.width > this.#options.parallel) return;
      this.#queue.remove(next.running.request.key, next);
      this.#observer.admitted?.((performance.now() - next.since) / 1000);
      this.#live.push(next.running);
    }
  }

  #heldBy(key: string): number {
    return this.#live.reduce((sum, { request, width }) => sum + (request.key === key ? width : 0), 0);
  }

  /** Lets all whose prompts have been read begin together. */
  async #start(): Promise<void> {
    for (const running of this.#live.filter(({ canStart }) => canStart)) {
      try {
        await running.start();
      } catch (error) {
        this.#leave(running, error);
      }
    }
  }

  /** Reads one chunk: of one prompt, or of several short ones. Keys take turns, and so do the prompts of a key. */
  async #readPrompt(): Promise<boolean> {
    const turn = ({ request }: RunningRequest): number => this.#turns.get(request.key) ?? -1;
    const unread = this.#live
      .filter(({ reading, ready, canStart, events }) => reading && ready && !canStart && !events.full)
      .sort((a, b) => turn(a) - turn(b));
    if (unread.length === 0) return false;
    const sharing = this.deterministic ? unread.slice(0, 1) : sharingRequests(unread, this.#options.chunk);
    for (const running of sharing) {
      this.#live.splice(this.#live.indexOf(running), 1);
      this.#live.push(running);
      this.#turns.set(running.request.key, this.#chunks++);
    }
    const started = performance.now();
    const results = await readChunks(this.#engine, sharing, this.#options.chunk);
    let tokens = 0;
    for (const [index, result] of results.entries()) {
      const running = sharing[index];
      if (result.status === 'fulfilled') tokens += result.value;
      if (result.status === 'rejected') this.#leave(running, result.reason);
      else if (running.done) this.#leave(running);
    }
    this.#observer.chunk?.(tokens, (performance.now() - started) / 1000);
    return true;
  }

  /** One round of all texts whose readers keep up. */
  async #decode(): Promise<boolean> {
    const rows = this.#live
      .filter(({ events }) => !events.full)
      .flatMap((running) => running.texts.map((text) => ({ running, text })));
    if (rows.length === 0) return false;
    const drafts = rows.flatMap(({ text }) => text.pace ?? []);
    this.pacing.begin(rows.length, drafts);
    const started = performance.now();
    const generations = rows.map(({ text }) => text.generation);
    const results: Awaited<ReturnType<typeof decodeRound>> = [];
    for (const together of this.deterministic ? generations.map((one) => [one]) : [generations]) {
      results.push(...(await decodeRound(this.#engine, together)));
    }
    this.pacing.end((performance.now() - started) / 1000);
    let tokens = 0;
    for (const [index, result] of results.entries()) {
      const { running, text } = rows[index];
      if (!this.#live.includes(running)) continue;
      try {
        if (result.status === 'rejected') throw result.reason;
        tokens += result.value.tokens.length;
        await this.#took(running, text, result.value);
      } catch (error) {
        this.#leave(running, error);
      }
    }
    this.#observer.round?.(rows.length, (performance.now() - started) / 1000, tokens);
    return true;
  }

  async #took(running: RunningRequest, text: RunningRequest['texts'][number], event: TokensEvent): Promise<void> {
    await running.took(text, event);
    if (running.done) this.#leave(running);
  }

  #leave(running: RunningRequest, failure?: unknown): void {
    this.#live.splice(this.#live.indexOf(running), 1);
    running.events.end(failure);
    const { key } = running.request;
    if (!this.#live.some(({ request }) => request.key === key)) this.#turns.delete(key);
  }
}

function aborted(): LinnetError {
  return new LinnetError('ABORTED', 'the request was cancelled');
}
