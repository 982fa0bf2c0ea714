/**
 * A session: a text and the state that has read it, continued from call to call, such as a conversation or a long document. The
 * library, the command line, the AI SDK and the server's dialects all write texts through sessions.
 */
import type { Grammars } from '../decoding/constraints/grammar-constraint.ts';
import { Sampler, type SamplerInput } from '../decoding/sampler.ts';
import type { LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { Snapshot } from '../decoding/state/session-format.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { requireKind, requireOptions, requirePath } from '../files/arguments.ts';
import { inspection } from '../files/inspection.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import type { RandomState } from '../random.ts';
import { endOfTurn } from '../tokenizer/text-ends.ts';
import type { Thinking } from './thinking/thinking.ts';
import type { ThoughtPart } from './thinking/thought-reader.ts';
import { leadsTo, type PromptInput, type PromptReader, preparePrompt } from './prompt.ts';
import type { Runner } from './runner.ts';
import type { SessionFiles } from './session-store.ts';
import type { EndEvent, Generation, RunnerOptions, TextJob, TextRun } from './text-job.ts';
import {
  checkTextOptions,
  type JobOptions,
  jobSampler,
  requireEnding,
  samplingOver,
  textOptionKinds,
  type TextOptions,
} from './text-options.ts';
import type { JsonObject } from '../files/json-object.ts';

/** Most tokens per text by default. */
const defaultTokens = 128;

/** A session's model. */
export interface SessionModel extends PromptReader {
  readonly decoder: AutoregressiveModel;
  /** Sampling where neither a request nor its program sets anything. */
  readonly defaults: SamplerInput;
  readonly grammars: () => Grammars;
  /** For a model whose template knows thoughts. */
  readonly thinking?: Thinking;
  /** What drafters learned from the model's texts. */
  readonly learned: LearnedByOwner;
  readonly sessionFiles?: SessionFiles;
  engine(): Promise<StepEngine>;
  runner(options?: RunnerOptions): Promise<Runner>;
}

/** A session's job. */
export interface PreparedJob extends TextJob, Pick<JobOptions, 'onEvent'> {
  readonly sampling: SamplerInput;
  /** For an answer to messages that thoughts may precede. */
  readonly thinking?: Thinking;
}

/** A text to continue piece by piece. One call at a time: the next may begin when the previous has ended. */
export class Session {
  readonly #model: SessionModel;
  readonly #runner: Runner | undefined;
  #content: Snapshot | undefined;
  /** Whether others also hold the state: it is copied before the text continues. */
  #isShared = true;
  #isBusy = false;
  /** The salt under which drafters learn from the text; undefined if they do not. */
  #learner: string | undefined = '';

  /**
   * @param from where the text continues; stays unchanged. Default: an empty text
   * @param runner runs texts among others. Default: each text runs alone
   */
  constructor(model: SessionModel, from?: Snapshot, runner?: Runner) {
    if (from !== undefined) requireKind(from, 'the snapshot', ['state', 'tokens'], 'the snapshot of a session');
    this.#model = model;
    this.#runner = runner;
    this.#content = from;
  }

  /** Tokens so far, including BOS. */
  get tokens(): readonly number[] {
    return Array.from(this.#content?.tokens ?? []);
  }

  /** The text so far, both given and generated. */
  get text(): string {
    return this.#model.tokenizer?.decode(this.tokens) ?? '';
  }

  /** Bytes of the state: constant in linearized models; 0 before the first text. */
  get bytes(): number {
    return this.#content?.state.bytes ?? 0;
  }

  /**
   * Adds a text and continues from there. An encoder-decoder model reads the first text, and then continues its own.
   *
   * @param text may be empty if there is a text already
   * @param options `seed` begins the random numbers of the first text; later ones continue them, also in a fork or a loaded
   *   session
   * @throws LinnetError like `run`
   */
  continue(text: string, options: TextOptions = {}): TextPieces {
    return this.continuePrompt({ text }, options);
  }

  /** `continue` for token ids. */
  continueTokens(tokens: ArrayLike<number>, options: TextOptions = {}): TextPieces {
    return this.continuePrompt({ tokens }, options);
  }

  /** `continue` for any kind of prompt, such as messages. */
  continuePrompt(input: PromptInput, options: TextOptions = {}): TextPieces {
    checkTextOptions(options);
    return new TextPieces(this, input, options);
  }

  /**
   * Continues with a prompt, yielding the text's events. The session moves on when the text has ended. If the loop over the
   * events is left early, it moves on by the tokens seen; on a shared runner it then stays as it was.
   * @throws LinnetError like `job`; later `INPUT` for a call before the last has ended, and like `Runner.submit`
   */
  run(input: PromptInput, options: JobOptions = {}): TextRun {
    return this.runJob(this.job(input, options));
  }

  /** `run` for a job that this session made. */
  async *runJob(job: PreparedJob): TextRun {
    this.#requireRest();
    const sampler = jobSampler(job, this.#model.decoder);
    this.#isBusy = true;
    // If the loop is left, the state has read no more than its tokens.
    let read: SequenceState | undefined;
    const written: number[] = [];
    try {
      const runner = this.#runner ?? (await this.#model.runner({ parallel: 1 }));
      for await (const event of runner.submit({ ...job, sampling: sampler })) {
        if (event.type === 'tokens') written.push(...event.tokens);
        else if (event.type === 'end') read = event.generation.state;
        else if (this.#runner === undefined) read = event.state;
        job.onEvent?.(event);
        yield event;
      }
    } finally {
      if (read !== undefined) this.#hold(job, read, written, sampler.random.state);
      this.#isBusy = false;
    }
  }

  /**
   * The job that continues from here with a prompt: the one place that joins prompt, state, sampling, grammar and end rules. A
   * caller that runs it passes its end to `moveOn`.
   * @throws LinnetError `INPUT` for JSON that ignores EOS, if there is nothing to continue, and before the last text has ended;
   *   like `preparePrompt` and `Grammars.json`
   */
  job(input: PromptInput, options: JobOptions = {}): PreparedJob {
    this.#requireRest();
    requireKind(input, 'the prompt', [], 'an object with `text`, `tokens` or `messages`');
    requireOptions(options, 'the options', textOptionKinds);
    const thinking = 'messages' in input ? this.#model.thinking : undefined;
    const { defaults, learned, decoder } = this.#model;
    const { maxTokens = defaultTokens, stop: strings, keepsStop, bos, salt = '', kept = true } = options;
    if (options.ignoreEos === true) requireEnding(options);
    const content = this.#content;
    const isWhole = 'messages' in input && input.isWhole === true;
    const after = content ?? (options.after && { tokens: options.after });
    const prompt = preparePrompt(this.#model, input, { bos, after: isWhole ? undefined : after });
    const before = content !== undefined && (!isWhole || leadsTo(content, prompt.tokens)) ? content : undefined;
    if (before !== undefined && before.state.length >= prompt.tokens.length) {
      throw new LinnetError('INPUT', "the session's text has ended; give a prompt to continue from there");
    }
    const left = decoder.positions.limit - prompt.tokens.length;
    this.#learner = kept ? salt : undefined;
    if (kept && content?.learned !== undefined) learned.of(salt).take(content.learned);
    return {
      ...options,
      prompt,
      maxTokens: left > 0 ? Math.min(maxTokens, left) : maxTokens,
      sampling: samplingOver(options, defaults, options.defaults ?? {}),
      random: options.random ?? content?.random,
      stop: { strings, tokenIds: this.#stopIds(input, options), kept: keepsStop },
      constraint: this.constraint(input, options),
      tokenizer: options.tokenizer ?? thinking?.tokenizer,
      thinking,
      drafter: options.speculate,
      // On a shared runner a text may be ahead of its reader: if the reader leaves, the session stays as it was.
      state: this.#isShared || this.#runner !== undefined ? before?.state.fork() : before?.state,
      kept,
    };
  }

  /**
   * The grammar for a text after its thoughts, and the bound on those; undefined if any text is allowed.
   * @throws LinnetError like `Grammars.json`
   */
  constraint(input: PromptInput, options: JobOptions): TextJob['constraint'] {
    const { jsonSchema, thinkingBudget: budget } = options;
    const { grammars, decoder, thinking } = this.#model;
    const ends = [...decoder.eosIds, ...this.#stopIds(input, options)];
    const constraint = options.constraint ?? (jsonSchema === undefined ? undefined : grammars().json(jsonSchema, ends));
    if (thinking === undefined || !('messages' in input)) return constraint;
    return thinking.constraint({ constraint, budget, ends, vocabulary: decoder.sizes.vocabulary });
  }

  /** Tokens besides EOS that end a text. A chat turn also ends where the tokenizer says. */
  #stopIds(input: PromptInput, { stopIds = [], ignoreEos }: JobOptions): readonly number[] {
    return 'messages' in input && ignoreEos !== true ? [...stopIds, ...endOfTurn(this.#model.tokenizer)] : stopIds;
  }

  /** Takes over the end of a job that this session made. */
  moveOn(job: TextJob, { generation: { state, tokens }, sampler }: EndEvent): void {
    this.#hold(job, state, tokens, sampler.random.state);
  }

  /**
   * A second session with the same text; both continue independently.
   * @param seed begins the second's random numbers anew, once there is a text; by default both draw the same
   * @throws LinnetError `INPUT` while a call is running, `CONFIG` for a seed that samplers do not take
   */
  fork(seed?: number): Session {
    this.#requireRest();
    const random = seed === undefined ? this.#content?.random : new Sampler({ seed }).random.state;
    this.#isShared = true;
    return new Session(this.#model, this.#content && { ...this.#content, random }, this.#runner);
  }

  /**
   * Text, state, random state, and what drafters learned from the model's texts. Immutable.
   * @throws LinnetError `INPUT` before the first text, and while a call is running
   */
  snapshot(): Snapshot {
    this.#requireRest();
    if (this.#content === undefined) throw new LinnetError('INPUT', 'the session is empty; continue a text first');
    this.#isShared = true;
    const known = this.#learner === undefined ? undefined : this.#model.learned.known(this.#learner)?.saved;
    return { ...this.#content, learned: known ?? this.#content.learned };
  }

  /**
   * Saves the session.
   * @param path in browsers a name under which the browser keeps it
   * @throws LinnetError like `snapshot` and `saveSession`; in browsers `CONFIG` without a private file system, `RUNTIME`
   *   without room
   */
  async save(path: string): Promise<void> {
    requirePath(path, 'the session file');
    await this.#files.write(path, this.snapshot());
  }

  /** Resumes a session saved with the same model. @throws LinnetError like `restoreSession`, in browsers `CONFIG` and `NOT_FOUND` */
  async load(path: string): Promise<void> {
    requirePath(path, 'the session file');
    this.#requireRest();
    const content = await this.#files.read(path, await this.#model.engine());
    if (content.learned !== undefined) this.#model.learned.of('').take(content.learned);
    this.#content = content;
    this.#isShared = false;
  }

  #hold(job: TextJob, state: SequenceState, written: readonly number[], random: RandomState): void {
    this.#content = { state, tokens: [...job.prompt.tokens, ...written], random, learned: this.#content?.learned };
    this.#isShared = false;
  }

  get #files(): SessionFiles {
    const { sessionFiles } = this.#model;
    if (sessionFiles !== undefined) return sessionFiles;
    throw new LinnetError('CONFIG', 'sessions of this model cannot be saved; keep the session');
  }

  #requireRest(): void {
    if (!this.#isBusy) return;
    throw new LinnetError('INPUT', 'the session is generating; wait for the end of the text');
  }
}

/**
 * A text's pieces as they arrive; iterate once. Generation begins with the first requested piece; leaving the loop ends it.
 * Thoughts before an answer to messages are not part of its text.
 */
export class TextPieces implements AsyncIterable<string> {
  readonly #session: Session;
  readonly #input: PromptInput;
  readonly #options: JobOptions;
  #started = false;
  #generation: Generation | undefined;

  constructor(session: Session, input: PromptInput, options: JobOptions) {
    this.#session = session;
    this.#input = input;
    this.#options = options;
  }

  /** The pieces of thoughts and text. @throws LinnetError `INPUT` if the text was requested before, and like `Session.run` */
  async *parts(): AsyncGenerator<ThoughtPart, void, undefined> {
    if (this.#started) {
      throw new LinnetError('INPUT', 'this text has been generated already; call generate again for another');
    }
    this.#started = true;
    const job = this.#session.job(this.#input, this.#options);
    const reader = job.thinking?.reader(job.prompt.tokens);
    const whole = { thought: '', text: '' };
    for await (const event of this.#session.runJob(job)) {
      if (event.type === 'prompt') continue;
      const isEnd = event.type === 'end';
      const text = isEnd ? '' : event.text;
      const parts: readonly ThoughtPart[] = (isEnd ? reader?.end() : reader?.push(text)) ?? [{ type: 'text', text }];
      for (const part of parts) whole[part.type] += part.text;
      if (isEnd)
        this.#generation = { ...event.generation, ...(reader && { text: whole.text, thoughts: whole.thought }) };
      for (const part of parts) if (part.text !== '') yield part;
    }
  }

  /** The text's pieces. @throws LinnetError like `parts` */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for await (const { type, text } of this.parts()) if (type === 'text') yield text;
  }

  /** The whole text, once it has ended. @throws LinnetError like iterating */
  async text(): Promise<string> {
    let text = '';
    for await (const piece of this) text += piece;
    return text;
  }

  /**
   * Tokens, speed and why the text ended.
   * @throws LinnetError `INPUT` while the text has not ended
   */
  get generation(): Generation {
    if (this.#generation !== undefined) return this.#generation;
    throw new LinnetError('INPUT', 'the text has not ended; iterate over all of it first, or await text()');
  }

  /** For `console.log`: how far the text is. */
  toJSON(): JsonObject {
    if (this.#generation === undefined) return { started: this.#started };
    const { text, thoughts, tokens, finish, tokensPerSecond } = this.#generation;
    return { ...(thoughts !== undefined && { thoughts }), text, tokens: tokens.length, finish, tokensPerSecond };
  }

  /** For `console.log`. */
  [inspection](): JsonObject {
    return this.toJSON();
  }
}
