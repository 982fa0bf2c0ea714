/** One job in progress: reads its prompt chunk by chunk, then its texts take part in rounds. */
import { chain } from '../attention/tree.ts';
import { type DecodingMethod, sequential } from '../decoding/method.ts';
import type { AdaptiveSpeculation, TextPace } from '../decoding/speculation/adaptive-speculation.ts';
import { MtpDrafter } from '../decoding/speculation/drafters/mtp-drafter.ts';
import { drafterMakers, LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import { speculative, type VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { StepEngine, StepOutput, StepRequest } from '../decoding/step-engine.ts';
import { internalError, LinnetError } from '../errors.ts';
import { requireKind } from '../files/arguments.ts';
import { RunningText } from './running-text.ts';
import { scoredMethod, ScoreStream, scoreToken, type TokenScore } from './text/scores.ts';
import type { RunnerOptions, TextEvent, TextJob } from './text-job.ts';
import { jobSampler } from './text-options.ts';

/** Tokens between two kept states of a prompt. */
export const boundaryEvery = 512;
/** With fewer prompt tokens left, reading them is faster than asking other servers. */
const worthAsking = 8;
/** Most verified trees per text that wait for its reader. */
const mostTrees = 16;

/** Parts that a runner's jobs share. */
export interface JobSurroundings
  extends Pick<RunnerOptions, 'tokenizer' | 'prefixes' | 'mtp'>,
    Required<Pick<RunnerOptions, 'chunk' | 'drafter' | 'learned' | 'deterministic' | 'observer' | 'parallel'>>,
    ReaderBounds {
  readonly engine: StepEngine;
  readonly pacing: AdaptiveSpeculation;
}

/** How far and how long a reader may lag. */
interface ReaderBounds extends Required<Pick<RunnerOptions, 'readerBytes' | 'readerTimeout'>> {
  /** Called when a reader has lagged too long: nobody may be waiting for events by then. */
  readonly onLate: () => void;
  /** Called when a reader has caught up. */
  readonly onRoom: () => void;
}

export class RunningJob {
  readonly job: TextJob;
  readonly owner: string;
  /** The job's rows in a round. */
  readonly width: number;
  /** Whether the prompt can be read further. */
  reads = false;
  /** Whether the prompt has been read. */
  isRead = false;
  /** Texts in rounds: none before the prompt has been read. */
  readonly texts = new Set<RunningText>();
  /** The prompt's next chunk as part of a step. */
  requests: readonly StepRequest[] = [];
  failure: unknown;
  /** Whether everything has been read and written. */
  done = false;
  /** Whether no more events follow. */
  ended = false;
  /** Events waiting for the reader. */
  readonly events: EventQueue;
  readonly #around: JobSurroundings;
  readonly #asked = performance.now();
  /** All texts, and when each last grew. */
  readonly #texts: RunningText[] = [];
  readonly #grown: (number | undefined)[] = [];
  /** Whether states may be cached: not with an encoded source, which the prompt's tokens do not determine. */
  readonly #caches: boolean;
  /** Whether to ask the prefix cache. */
  readonly #looks: boolean;
  /** Lengths, yet to be read, at which to cache the state; ascending. */
  readonly #boundaries: number[];
  readonly #promptScores: TokenScore[] = [];
  /** Number of last prompt tokens whose hidden states the methods want, and those states so far. */
  #reads = 1;
  readonly #recent: Float32Array[] = [];
  #state: SequenceState | undefined;
  /** Each text's state, once the prompt has been read. */
  readonly #states: SequenceState[] = [];
  #cached = 0;
  /** When the current chunk began. */
  #started = 0;
  /** Time spent reading the prompt. */
  #seconds = 0;

  /** @throws LinnetError `INPUT` for an inconsistent job, or a state in use; `CONFIG` for sampling settings out of range */
  constructor(job: TextJob, around: JobSurroundings) {
    const { maxTokens, n = 1, prompt, state } = job;
    if (n > around.parallel) {
      const most = `${around.parallel} texts run at a time; ask for fewer`;
      throw new LinnetError('INPUT', `${n} continuations are asked for and ${most}`);
    }
    this.job = job;
    this.owner = job.owner ?? '';
    this.width = n;
    // A job's own state may be fabricated: no other text continues from it.
    const prefixes = job.kept === false || state !== undefined ? undefined : around.prefixes;
    this.#around = { ...around, prefixes, learned: job.kept === false ? new LearnedByOwner() : around.learned };
    this.events = new EventQueue(around);
    for (let choice = 0; choice < n && maxTokens !== 0; choice++) {
      const text = this.#newText(choice);
      this.#texts.push(text);
      this.#reads = Math.max(this.#reads, text.parts.method.reads ?? 1);
    }
    this.#caches = (prefixes?.maxBytes ?? 0) > 0 && prompt.source === undefined;
    this.#looks = this.#caches && job.scores?.prompt === undefined;
    this.#boundaries = this.#caches ? this.#keptLengths() : [];
    if (state === undefined) return;
    if (state.isInUse) {
      const advice = 'wait for its end, or give a fork of the state';
      throw new LinnetError('INPUT', `the state is in use by another text; ${advice}`);
    }
    if (state.length >= prompt.tokens.length) {
      const read = `the state has read ${state.length} tokens and the prompt has ${prompt.tokens.length}`;
      throw new LinnetError('INPUT', `${read}: there is nothing to continue from`);
    }
    state.isInUse = true;
  }

  /** Finds the state to read the prompt from. Immediately, unless a source must be read or other servers are asked. */
  async prepare(): Promise<void> {
    const { engine, prefixes } = this.#around;
    const { salt = '' } = this.job;
    const { tokens, source } = this.job.prompt;
    let { state } = this.job;
    const started = performance.now();
    if (source !== undefined) state ??= engine.newState(await engine.encode(source));
    if (this.#looks && prefixes !== undefined) {
      state = prefixes.find(salt, tokens, tokens.length);
      if (prefixes.shared !== undefined && tokens.length - (state?.length ?? 0) >= worthAsking) {
        state = (await prefixes.fetch(salt, tokens, state?.length ?? 0)) ?? state;
      }
    }
    this.#seconds = (performance.now() - started) / 1000;
    this.#state = state ?? engine.newState();
    this.#cached = this.#state.length;
    while (this.#boundaries.length > 0 && this.#boundaries[0] <= this.#cached) this.#boundaries.shift();
    this.reads = true;
  }

  /** Tokens in the prompt's next chunk, which never crosses a boundary. */
  chunkLength(): number {
    const { engine, chunk } = this.#around;
    const from = this.#state?.length ?? 0;
    const total = this.job.prompt.tokens.length;
    const [next = total] = this.#boundaries;
    return Math.min(total, from + Math.min(chunk, engine.room({ length: from })), next) - from;
  }

  /** Plans to read the prompt's next chunk. */
  async plan(): Promise<void> {
    this.#started = performance.now();
    const state = this.#state;
    if (state === undefined) throw internalError('a prompt is read before its state is known');
    const size = this.chunkLength();
    const tokens = this.job.prompt.tokens.slice(state.length, state.length + size);
    const least = this.#around.engine.needsOutput('prompt') ? size - 1 : size;
    const recent = Math.min(least, this.job.prompt.tokens.length - this.#reads - state.length);
    const from = this.job.scores?.prompt === undefined ? Math.max(0, recent) : 0;
    const wanted: number[] = [];
    for (let node = from; node < size; node++) wanted.push(node);
    this.requests = [{ state, tree: chain(size), tokens, wanted }];
  }

  /** Makes the state read a chunk that a step has run. */
  async conclude([output]: readonly StepOutput[]): Promise<void> {
    const [request] = this.requests;
    const { logits, hidden } = output;
    const { state } = request;
    const { prompt, scores, salt = '' } = this.job;
    const [first, total] = [state.length + 1, prompt.tokens.length];
    this.#seconds += (performance.now() - this.#started) / 1000;
    for (const [i, node] of request.wanted.entries()) {
      if (node >= total - this.#reads - state.length) this.#recent.push(hidden[i].slice());
    }
    await this.#around.engine.commit(request, output, [...request.tree.parents.keys()]);
    const done = state.length;
    if (scores?.prompt !== undefined) {
      for (const [node, next] of prompt.tokens.slice(first, done + 1).entries()) {
        this.#promptScores.push(scoreToken(logits[node], next, scores.prompt));
      }
    }
    if (this.#boundaries[0] === done) {
      this.#boundaries.shift();
      this.#around.prefixes?.keep(salt, prompt.tokens, state);
    }
    if (done === total) this.#begin(state, logits[logits.length - 1], hidden[hidden.length - 1]);
    const read = { done, total, state, seconds: this.#seconds, cached: this.#cached };
    this.events.push({ type: 'prompt', ...read, scores: done === total ? this.#promptScores : [] });
  }

  /** Takes over a text's round; settles and reports the text if it has ended. */
  async took(text: RunningText): Promise<void> {
    const { event } = text;
    if (event === undefined) throw internalError('a round without an event');
    const { choice, tokens } = event;
    if (tokens.length > 0) {
      const { observer } = this.#around;
      const before = this.#grown[choice];
      const now = performance.now();
      this.#grown[choice] = now;
      if (before === undefined) observer.firstTokens?.((now - this.#asked) / 1000);
      else observer.nextTokens?.(tokens.length, (now - before) / 1000);
    }
    if (tokens.length > 0 || event.text !== '' || event.trees.length > 0) this.events.push(event);
    if (text.finish !== undefined) await this.#ended(text);
  }

  /** Ends all texts as they are. @throws LinnetError `ABORTED` if there are none, or no state for them */
  async abort(): Promise<void> {
    const { state, prompt } = this.job;
    this.#state ??= state ?? (prompt.source === undefined ? this.#around.engine.newState() : undefined);
    const texts = this.isRead ? [...this.texts] : this.#texts;
    if (texts.length === 0 || this.#state === undefined) throw cancelled();
    for (const text of texts) {
      text.end('abort');
      await this.took(text);
    }
  }

  /** Ends the events; the reader gets those that wait, then the end, or the failure. */
  end(failure?: unknown): void {
    if (this.ended) return;
    if (this.job.state !== undefined) this.job.state.isInUse = false;
    this.ended = true;
    this.events.end(failure);
  }

  #begin(read: SequenceState, logits: Float32Array, hidden: Float32Array): void {
    const { engine, observer } = this.#around;
    this.reads = false;
    this.isRead = true;
    this.done = this.#texts.length === 0;
    for (const [choice, text] of this.#texts.entries()) {
      const state = choice === this.#texts.length - 1 ? read : read.fork();
      this.#states.push(state);
      this.texts.add(text);
      const { method, sampler } = text.parts;
      const continuation = method({ engine, state, sampler, logits, hidden, recent: this.#recent });
      requireKind(continuation, 'what `method` returned', ['plan', 'conclude'], 'an object with plan and conclude');
      text.continuation = continuation;
    }
    observer.reused?.(this.job.prompt.tokens.length, this.#cached);
  }

  async #ended(text: RunningText): Promise<void> {
    const { choice, sampler, scores: stream } = text.parts;
    const { prefixes, observer, deterministic } = this.#around;
    const { prompt, stop, salt = '' } = this.job;
    this.texts.delete(text);
    this.done = this.isRead && this.texts.size === 0;
    const state = this.#states.at(choice) ?? this.#state;
    if (state === undefined) throw internalError('a text ends before its state is known');
    const unread = await text.settle();
    if (unread.length > 0) await this.#around.engine.prefill(state, unread, { weights: 'step' });
    if (state.ahead > 0) state.dropAhead();
    const generation = text.result({ state, prefillSeconds: this.#seconds });
    const { finish, tokens, decodeSeconds } = generation;
    if (this.#caches && choice === 0 && finish !== 'abort' && !deterministic) {
      prefixes?.keep(salt, [...prompt.tokens, ...tokens], state);
    }
    observer.ended?.({
      finish,
      decodeSeconds,
      seconds: (performance.now() - this.#asked) / 1000,
      promptSeconds: this.#seconds,
      tokens: prompt.tokens.length + tokens.length,
    });
    const scores = stream?.finish(finish === 'stop' && (stop?.strings ?? []).length > 0) ?? [];
    this.events.push({ type: 'end', choice, generation, scores, sampler });
  }

  #newText(choice: number): RunningText {
    const { job } = this;
    const { tokenizer = this.#around.tokenizer } = job;
    if (tokenizer !== undefined) requireKind(tokenizer, 'tokenizer', ['encode', 'decode'], 'a tokenizer');
    const { eosIds } = this.#around.engine.model;
    const isScored = job.scores?.text !== undefined && tokenizer !== undefined;
    const scores = isScored ? new ScoreStream(tokenizer, job.prompt.tokens) : undefined;
    const trees: VerifiedTree[] = [];
    const sampler = jobSampler(job, this.#around.engine.model, choice);
    return new RunningText({ job, choice, tokenizer, eosIds, sampler, scores, trees, ...this.#method(scores, trees) });
  }

  /** A text's decoding method. @param trees receives the trees it verifies */
  #method(scores: ScoreStream | undefined, trees: VerifiedTree[]): { method: DecodingMethod; pace?: TextPace } {
    const { job } = this;
    const { pacing, deterministic, observer, learned, mtp, drafter: usual } = this.#around;
    if (job.method !== undefined) return { method: job.method };
    if (job.scores?.text !== undefined) {
      return { method: scoredMethod(job.scores.text, (score) => scores?.push(score)) };
    }
    // Trees are as large as the clock allows.
    const asked = deterministic ? 'off' : (job.drafter ?? mtp ?? usual);
    if (asked === 'off') return { method: sequential };
    const drafter =
      typeof asked === 'string' ? drafterMakers[asked](learned.of(job.salt ?? '')) : new MtpDrafter(asked);
    const pace = pacing.newText();
    const onTree = (tree: VerifiedTree): void => {
      // Neither counts the root, which is already in the text.
      observer.drafted?.(tree.tokens.length - 1, tree.accepted.length - 1);
      // A lagging reader gets the last ones.
      if (job.trees === true && trees.push(tree) > mostTrees) trees.shift();
    };
    return { method: speculative(drafter, { onTree, adaptive: pace }), pace };
  }

  /**
   * Prefix lengths to cache: every 512 tokens, the caller's lengths, and all but the last token, for the same prompt again.
   * With `deterministic` only the regular grid: from any of its lengths a prompt is read in the same chunks.
   */
  #keptLengths(): number[] {
    const { deterministic } = this.#around;
    if (deterministic && !this.#looks) return [];
    const { tokens, keepAt = [] } = this.job.prompt;
    const lengths = new Set<number>(deterministic ? [] : [...keepAt, tokens.length - 1]);
    for (let at = boundaryEvery; at < tokens.length; at += boundaryEvery) lengths.add(at);
    lengths.delete(tokens.length);
    return [...lengths].sort((a, b) => a - b);
  }
}

/** The failure of an abandoned job. */
export function cancelled(): LinnetError {
  return new LinnetError('ABORTED', 'the request was cancelled');
}

/** A job's events waiting for its reader, and how far the reader lags. */
export class EventQueue {
  /** Whether the reader has fallen behind: no more events should follow for now. */
  isFull = false;
  readonly #events: { readonly event: TextEvent; readonly bytes: number }[] = [];
  readonly #bounds: ReaderBounds;
  #timer: NodeJS.Timeout | undefined;
  /** The waiting events' approximate bytes. */
  #bytes = 0;
  #isOver = false;
  #failure: Error | undefined;
  #fullSince = 0;
  /** When the reader last took an event, or had none to take. */
  #takenAt = 0;

  constructor(bounds: ReaderBounds) {
    this.#bounds = bounds;
  }

  push(event: TextEvent): void {
    if (this.#isOver) return;
    if (this.#events.length === 0) this.#takenAt = performance.now();
    const bytes = 64 + (event.type === 'tokens' ? 2 * event.text.length + 8 * event.tokens.length : 0);
    this.#events.push({ event, bytes });
    this.#bytes += bytes;
    if (!this.isFull && this.#bytes >= this.#bounds.readerBytes) this.#setFull(true);
  }

  /** The next event; undefined if none waits. @throws the job's failure, after the last event */
  shift(): TextEvent | undefined {
    const waiting = this.#events.shift();
    if (waiting === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      return undefined;
    }
    this.#takenAt = performance.now();
    this.#bytes -= waiting.bytes;
    if (this.isFull && this.#bytes < this.#bounds.readerBytes) this.#setFull(false);
    return waiting.event;
  }

  /** Takes no more events. @param failure the job's */
  end(failure?: unknown): void {
    this.#isOver = true;
    if (this.isFull) this.#setFull(false);
    if (failure === undefined) return;
    this.#failure = failure instanceof Error ? failure : new Error('the request failed', { cause: failure });
  }

  /**
   * Milliseconds after which the reader is abandoned, if it takes nothing.
   * @param unread the limit while any event waits
   */
  patience(unread: number): number {
    const left = this.isFull ? this.#bounds.readerTimeout - (performance.now() - this.#fullSince) : Infinity;
    return this.#events.length > 0 ? Math.min(left, unread - this.unreadFor) : left;
  }

  /** Milliseconds since the reader last took one of the waiting events; 0 if none wait. */
  get unreadFor(): number {
    return this.#events.length === 0 ? 0 : performance.now() - this.#takenAt;
  }

  #setFull(isFull: boolean): void {
    const { onLate, onRoom, readerTimeout } = this.#bounds;
    this.isFull = isFull;
    clearTimeout(this.#timer);
    if (isFull) {
      this.#fullSince = performance.now();
      this.#timer = setTimeout(onLate, readerTimeout + 1);
    } else onRoom();
  }
}
