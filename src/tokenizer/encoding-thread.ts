/**
 * The thread that encodes long texts, one at a time, so that it can skip a text whose reader has gone; its queue is bounded,
 * and an idle thread ends along with its tokenizers. For Node.
 */
import { OverloadError, requireRunning } from '../errors.ts';
import { hostModule, WorkerThread } from '../runtime/worker-thread.ts';
import type { EncodeOptions } from './text-tokens.ts';

/** A text for the thread. */
export interface EncodingTask extends Pick<EncodeOptions, 'follows'> {
  readonly folder: string;
  /** Digest of the tokenizer's files. */
  readonly digest: string;
  readonly text: string;
}

type Thread = Pick<WorkerThread<EncodingTask, Int32Array>, 'ask' | 'terminate' | 'failure'>;

function startThread(): Thread {
  return new WorkerThread('thread that encodes texts', hostModule('encoder-host', import.meta.url));
}

interface Bounds {
  /** Most characters waiting in all: half a minute of work. A single text may be longer. */
  readonly mostWaiting: number;
  readonly idleMilliseconds: number;
}

const usualBounds: Bounds = { mostWaiting: 1 << 25, idleMilliseconds: 60_000 };

/** Starts with the first text. */
export class EncodingThread {
  readonly #start: () => Thread;
  readonly #bounds: Bounds;
  #thread: Thread | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor(start = startThread, bounds = usualBounds) {
    this.#start = start;
    this.#bounds = bounds;
  }

  /**
   * Undefined if the thread cannot start, or lacks memory.
   * @throws OverloadError if too much is waiting; LinnetError `ABORTED` for a text whose turn comes after the signal
   */
  async encode(task: EncodingTask, signal?: AbortSignal): Promise<Int32Array | undefined> {
    const { length } = task.text;
    const { mostWaiting, idleMilliseconds } = this.#bounds;
    if (this.#waiting > 0 && this.#waiting + length > mostWaiting) throw new OverloadError('full');
    this.#waiting += length;
    clearTimeout(this.#idle);
    const result = this.#last.then(() => {
      requireRunning(signal, 'before a text was encoded');
      return this.#ask(task);
    });
    this.#last = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      this.#waiting -= length;
      if (this.#waiting === 0) this.#idle = setTimeout(() => void this.#end(), idleMilliseconds).unref();
    }
  }

  async #ask(task: EncodingTask): Promise<Int32Array | undefined> {
    if (this.#thread?.failure !== undefined) this.#thread = undefined;
    const thread = (this.#thread ??= this.#start());
    try {
      return await thread.ask(task);
    } catch (error) {
      if (thread.failure === undefined) throw error;
      return undefined;
    }
  }

  async #end(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.terminate();
  }
}
