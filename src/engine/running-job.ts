/** One job on its way: its prompt is read chunk by chunk, then its texts take part in the rounds. */
import { chain } from '../attention/tree.ts';
import { Sampler } from '../decoding/sampler.ts';
import type { VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { StepEngine, StepOutput, StepRequest } from '../decoding/step-engine.ts';
import { internalError, LinnetError } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { GrowingText } from './growing-text.ts';
import { RunningText } from './running-text.ts';
import { EventQueue } from './scheduler/event-queue.ts';
import type { RoundPacing, TextPace } from './scheduler/round-pacing.ts';
import type { MethodMaker } from './text/decoding-choice.ts';
import { leastTokens } from './text/least-tokens.ts';
import type { PrefixCache } from './text/prefix-cache.ts';
import { ScoreStream } from './text/score-stream.ts';
import { scoredMethod, scoreToken, type TokenScore } from './text/scores.ts';
import type { RunnerObserver, TextEvent, TextJob, TokensEvent } from './text-job.ts';

/** Tokens between two states of a prompt that are kept. */
const boundaryEvery = 512;
/** A prompt of which less is left to read is read sooner than other servers are asked about it. */
const worthAsking = 8;
/** Verified trees of a text that wait for its reader. */
const mostTrees = 16;

/** Parts that the jobs of a runner share. */
export interface JobSurroundings {
  readonly engine: StepEngine;
  readonly tokenizer?: Tokenizer;
  readonly prefixes?: PrefixCache;
  readonly method: MethodMaker;
  readonly pacing: RoundPacing;
  readonly deterministic: boolean;
  readonly readerBytes: number;
  readonly observer: RunnerObserver;
}

export class RunningJob {
  readonly job: TextJob;
  readonly owner: string;
  /** Rows that the job has in a round. */
  readonly width: number;
  readonly events: EventQueue<TextEvent>;
  readonly #around: JobSurroundings;
  readonly #asked = performance.now();
  /** Texts that have not ended. */
  readonly #texts: RunningText[];
  /** When each text last grew. */
  readonly #grown: (number | undefined)[] = [];
  readonly #boundaries: readonly number[];
  readonly #promptScores: TokenScore[] = [];
  #state: SequenceState | undefined;
  /** Of each text, when the prompt has been read. */
  #states: readonly SequenceState[] = [];
  #cached = 0;
  /** Time spent reading the prompt. */
  #seconds = 0;
  #isRead = false;

  /**
   * @param onChange called when the reader falls behind, and when it has caught up
   * @throws LinnetError `INPUT` for a job that makes no sense, or a state in use; `CONFIG` for sampling settings out of range
   */
  constructor(job: TextJob, around: JobSurroundings, onChange: (full: boolean) => void) {
    const { maxTokens, n = 1, prompt, state } = job;
    this.job = job;
    this.owner = job.owner ?? '';
    this.width = n;
    this.#around = around;
    this.events = new EventQueue(around.readerBytes, eventWeight, onChange);
    this.#texts = Array.from({ length: maxTokens === 0 ? 0 : n }, (_, choice) => this.#newText(choice));
    this.#boundaries = this.#caches ? this.#keptLengths() : [];
    if (state === undefined) return;
    if (state.isInUse) {
      const advice = 'wait for its end, or give a fork of the state';
      throw new LinnetError('INPUT', `the state is in use by another text; ${advice}`);
    }
    if (state.length >= prompt.tokens.length) {
      throw new LinnetError(
        'INPUT',
        `the state has read ${state.length} tokens and the prompt has ${prompt.tokens.length}: there is nothing to continue from`,
      );
    }
    state.isInUse = true;
  }

  /** Finds the state to read the prompt from. At once, unless a source must be read or other servers are asked. */
  async prepare(): Promise<void> {
    const { engine, prefixes } = this.#around;
    const { prompt, salt = '' } = this.job;
    const { tokens, source } = prompt;
    let state = this.job.state;
    if (source !== undefined) state ??= engine.newState(await engine.encode(source));
    if (this.#looks && prefixes !== undefined) {
      state = prefixes.find(salt, tokens, tokens.length);
      if (prefixes.isShared && tokens.length - (state?.length ?? 0) >= worthAsking) {
        state = (await prefixes.fetch(salt, tokens, state?.length ?? 0)) ?? state;
      }
    }
    this.#state = state ?? engine.newState();
    this.#cached = this.#state.length;
  }

  /** Whether the prompt can be read further. */
  get reads(): boolean {
    return this.#state !== undefined && !this.#isRead;
  }

  /** Whether the prompt has been read. */
  get isRead(): boolean {
    return this.#isRead;
  }

  /** Texts that take part in rounds. */
  get texts(): readonly RunningText[] {
    return this.#isRead ? this.#texts : [];
  }

  /** Whether everything has been read and written. */
  get done(): boolean {
    return this.#isRead && this.#texts.length === 0;
  }

  /** Tokens of the next chunk of the prompt: at most `most`, and never across a boundary. */
  chunkLength(most: number): number {
    const from = this.#begun.length;
    const total = this.job.prompt.tokens.length;
    const next = this.#boundaries.find((length) => length > from) ?? total;
    return Math.min(total, from + most, next) - from;
  }

  /** The next chunk of the prompt as a part of a step; `tookChunk` follows. */
  planChunk(most: number): StepRequest {
    const state = this.#begun;
    const size = this.chunkLength(most);
    const tokens = this.job.prompt.tokens.slice(state.length, state.length + size);
    const wanted = this.job.scores?.prompt === undefined ? [size - 1] : tokens.map((_, node) => node);
    return { state, tree: chain(size), tokens, wanted };
  }

  /** The state has read a chunk. */
  tookChunk({ logits, hidden }: StepOutput, seconds: number): void {
    const state = this.#begun;
    const { prompt, scores, salt = '' } = this.job;
    const done = state.length;
    const total = prompt.tokens.length;
    this.#seconds += seconds;
    if (scores?.prompt !== undefined) {
      for (const [node, row] of logits.entries()) {
        const next = prompt.tokens.at(done - logits.length + node + 1);
        if (next !== undefined && done - logits.length + node + 1 < total) {
          this.#promptScores.push(scoreToken(row, next, scores.prompt));
        }
      }
    }
    if (this.#boundaries.includes(done)) this.#around.prefixes?.keep(salt, prompt.tokens, state);
    if (done === total) this.#begin({ logits: logits[logits.length - 1], hidden: hidden[hidden.length - 1] });
    const read = { done, total, state, seconds: this.#seconds, cached: this.#cached };
    this.events.push({ type: 'prompt', ...read, scores: done === total ? this.#promptScores : [] });
  }

  /** Takes the tokens of a round; settles and reports the text if they ended it. */
  async took(text: RunningText, event: TokensEvent): Promise<void> {
    const { choice, tokens } = event;
    const { observer } = this.#around;
    if (tokens.length > 0) {
      const before = this.#grown[choice];
      this.#grown[choice] = performance.now();
      if (before === undefined) observer.firstTokens?.(secondsSince(this.#asked));
      else observer.nextTokens?.(tokens.length, secondsSince(before));
    }
    if (tokens.length > 0 || event.text !== '' || event.trees.length > 0) this.events.push(event);
    if (text.finish !== undefined) await this.#ended(text);
  }

  /** Ends all texts as they are. @throws LinnetError `ABORTED` where there are none, or no state of them */
  async abort(): Promise<void> {
    const { state, prompt } = this.job;
    this.#state ??= state ?? (prompt.source === undefined ? this.#around.engine.newState() : undefined);
    if (this.#texts.length === 0 || this.#state === undefined) throw cancelled();
    for (const text of [...this.#texts]) await this.took(text, text.end('abort'));
  }

  /** No more events come. */
  end(failure?: unknown): void {
    if (this.job.state !== undefined) this.job.state.isInUse = false;
    this.events.end(failure);
  }

  get #begun(): SequenceState {
    if (this.#state === undefined) throw internalError('a prompt is read before its state is known');
    return this.#state;
  }

  /** Whether states may be cached: not with an encoded source, which the prompt's tokens do not determine. */
  get #caches(): boolean {
    return (this.#around.prefixes?.maxBytes ?? 0) > 0 && this.job.prompt.source === undefined;
  }

  /** Whether the prefix cache is asked. */
  get #looks(): boolean {
    return this.job.state === undefined && this.job.scores?.prompt === undefined && this.#caches;
  }

  #begin(last: { readonly logits: Float32Array; readonly hidden: Float32Array }): void {
    const { engine, observer } = this.#around;
    const state = this.#begun;
    this.#isRead = true;
    this.#states = this.#texts.map((_, choice) => (choice === this.#texts.length - 1 ? state : state.fork()));
    for (const [choice, text] of this.#texts.entries()) text.begin({ engine, state: this.#states[choice], ...last });
    observer.reused?.(this.job.prompt.tokens.length, this.#cached);
  }

  async #ended(text: RunningText): Promise<void> {
    const { choice, sampler, scores: stream } = text.parts;
    const { prefixes, observer, deterministic } = this.#around;
    const { prompt, stop, salt = '' } = this.job;
    this.#texts.splice(this.#texts.indexOf(text), 1);
    await text.settle();
    const state = this.#states.at(choice) ?? this.#begun;
    const generation = text.result({ state, prefillSeconds: this.#seconds });
    const { finish, tokens, decodeSeconds } = generation;
    if (this.#caches && choice === 0 && finish !== 'abort' && !deterministic) {
      prefixes?.keep(salt, [...prompt.tokens, ...tokens], state);
    }
    observer.ended?.({
      ...{ finish, decodeSeconds, seconds: secondsSince(this.#asked), promptSeconds: this.#seconds },
      tokens: prompt.tokens.length + tokens.length,
    });
    const scores = stream?.finish(finish === 'stop' && (stop?.strings ?? []).length > 0) ?? [];
    this.events.push({ type: 'end', choice, generation, scores, sampler });
  }

  #newText(choice: number): RunningText {
    const { job } = this;
    const { engine, tokenizer, observer } = this.#around;
    const { prompt, maxTokens, stop, ignoreEos, leastTokens: least = 0 } = job;
    const after = Math.max(least, stop?.after ?? 0);
    const rules = { maxTokens, stop: stop && { ...stop, after }, ignoreEos, tokenizer };
    const growing = new GrowingText(prompt.tokens, engine.model.eosIds, rules);
    const scored = job.scores?.text;
    const scores =
      scored === undefined || tokenizer === undefined ? undefined : new ScoreStream(tokenizer, prompt.tokens);
    const trees: VerifiedTree[] = [];
    const onTree = (tree: VerifiedTree): void => {
      // Neither counts the root, which the text has already.
      observer.drafted?.(tree.tokens.length - 1, tree.accepted.length - 1);
      // A reader that is behind gets the last ones.
      if (job.trees === true && trees.push(tree) > mostTrees) trees.shift();
    };
    let pace: TextPace | undefined;
    const pacing = (): TextPace => (pace = this.#around.pacing.newText());
    // Trees are as large as the clock says.
    const drafter = this.#around.deterministic ? 'off' : job.drafter;
    const method =
      job.method ??
      (scored === undefined
        ? this.#around.method({ drafter, onTree, pacing })
        : scoredMethod(scored, (score) => scores?.push(score), job.scores?.of));
    return new RunningText({ choice, growing, sampler: this.#sampler(choice), method, pace, scores, trees });
  }

  #sampler(choice: number): Sampler {
    const { sampling = {}, random, constraint, leastTokens: count = 0, prompt, stop, ignoreEos } = this.job;
    if (sampling instanceof Sampler) return sampling;
    const { eosIds, sizes } = this.#around.engine.model;
    const from = prompt.tokens.length;
    const ends = [...(stop?.tokenIds ?? []), ...(ignoreEos === true ? [] : eosIds)];
    const lasting = count > 0 && ends.length > 0;
    return new Sampler({ ...sampling, seed: ((sampling.seed ?? 0) + choice) >>> 0 }, random, {
      constraint:
        constraint?.after(from) ??
        (lasting ? leastTokens({ count, from, ends, vocabulary: sizes.vocabulary }) : undefined),
      // These penalties count generated tokens only; the repetition penalty counts the prompt too.
      penalizedFrom: (sampling.repetitionPenalty ?? 1) === 1 ? from : 0,
    });
  }

  /**
   * Prefix lengths to cache: every 512 tokens, the lengths that the caller names, and all but the last token, for the same
   * prompt again. With `deterministic` only the regular grid: a prompt is read in the same chunks from any of its lengths.
   */
  #keptLengths(): readonly number[] {
    const { deterministic } = this.#around;
    if (deterministic && !this.#looks) return [];
    const { tokens, keepAt = [] } = this.job.prompt;
    const regular = Array.from(
      { length: Math.floor(tokens.length / boundaryEvery) },
      (_, i) => (i + 1) * boundaryEvery,
    );
    const all = [...regular, ...(deterministic ? [] : [...keepAt, tokens.length - 1])];
    return [...new Set(all)].filter((at) => at > 0 && at < tokens.length).sort((a, b) => a - b);
  }
}

/** The failure of a job that is given up. */
export function cancelled(): LinnetError {
  return new LinnetError('ABORTED', 'the request was cancelled');
}

/** Approximate bytes of a waiting event. */
function eventWeight(event: TextEvent): number {
  return 64 + (event.type === 'tokens' ? 2 * event.text.length + 8 * event.tokens.length : 0);
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
