/** A session: a text and its state, continued from call to call, such as a conversation or a long document. */
import { Runner } from './runner.ts';
import type { TextEvent } from './text-job.ts';
import type { Grammars } from '../decoding/constraints/grammar-constraint.ts';
import { drafters, type LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import { Sampler } from '../decoding/sampler.ts';
import type { RestoredSession, SavedSession } from '../decoding/state/session-format.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type PromptInput, preparePrompt } from './prompt.ts';
import { type TextOptions, textOptionNames, TextPieces } from './text-pieces.ts';
import {
  requireCount,
  requireFunction,
  requireKind,
  requireOneOf,
  requireOptions,
  requirePath,
  requireText,
  requireTexts,
  requireTokens,
} from '../files/arguments.ts';

/** How long texts are where nothing else is said. */
const defaultTokens = 128;

/** A text with the state that has read it, as it is saved. */
interface SessionContent extends SavedSession {
  readonly tokens: readonly number[];
}

/** Saved sessions: on a disk, by path, or of a browser, by name. */
export interface SessionFiles {
  save(path: string, content: SavedSession): Promise<void>;
  load(path: string, engine: StepEngine): Promise<RestoredSession>;
}

/** Parts that the sessions of a model share. */
export interface SessionParts {
  readonly engine: () => Promise<StepEngine>;
  readonly tokenizer: Tokenizer;
  readonly template?: ChatTemplate;
  readonly files: SessionFiles | undefined;
  /** Schemas that texts may be held to. */
  readonly grammars: Grammars;
  /** What drafters have learned from the texts of the model. */
  readonly learned: LearnedByOwner;
}

/** A text to continue piece by piece. One call at a time: the next one begins when the one before has ended. */
export class TextSession {
  readonly #parts: SessionParts;
  #content: SessionContent | undefined;
  #busy = false;

  /** Made by `model.session()`. */
  constructor(parts: SessionParts, content?: SessionContent) {
    this.#parts = parts;
    this.#content = content;
  }

  /** Tokens so far, BOS included. */
  get tokens(): readonly number[] {
    return this.#content?.tokens ?? [];
  }

  /** The text so far, given and generated. */
  get text(): string {
    return this.#parts.tokenizer.decode(this.tokens);
  }

  /** Bytes of the state: constant in linearized models. 0 before the first text. */
  get bytes(): number {
    return this.#content?.state.bytes ?? 0;
  }

  /**
   * Adds a text and goes on from there. An encoder-decoder model reads the first text, and continues its own afterwards.
   *
   * @param text may be empty where there is a text already
   * @throws LinnetError `INPUT` for a call before the last has ended, or as `decoding.generate`
   */
  continue(text: string, options: TextOptions = {}): TextPieces {
    requireText(text, 'the text');
    return this.continuePrompt({ text }, options);
  }

  /** `continue` with token ids. */
  continueTokens(tokens: ArrayLike<number>, options: TextOptions = {}): TextPieces {
    return this.continuePrompt({ tokens: requireTokens(tokens, 'the tokens') }, options);
  }

  /** `continue` with any kind of prompt, such as messages. */
  continuePrompt(input: PromptInput, options: TextOptions = {}): TextPieces {
    checkTextOptions(options);
    return new TextPieces(() => this.#run(options, input));
  }

  /** A second session with the same text: both go on by themselves. @throws LinnetError `INPUT` while a call is running */
  fork(): TextSession {
    this.#requireRest();
    const content = this.#content;
    return new TextSession(this.#parts, content && { ...content, state: content.state.fork() });
  }

  /**
   * Saves text, state, random numbers, and what drafters have learned from the texts of the model.
   * @param path in browsers a name, under which the browser keeps it
   * @throws LinnetError `INPUT` before the first text, as `saveSession`; in browsers `CONFIG` without a private file system,
   *   `RUNTIME` without room
   */
  async save(path: string): Promise<void> {
    requirePath(path, 'the session file');
    this.#requireRest();
    if (this.#content === undefined) throw new LinnetError('INPUT', 'the session is empty; continue a text first');
    await this.#files.save(path, { ...this.#content, learned: this.#parts.learned.known('')?.saved });
  }

  /** Takes up a session that was saved with the same model. @throws LinnetError as `restoreSession`, in browsers `CONFIG` and `NOT_FOUND` */
  async load(path: string): Promise<void> {
    requirePath(path, 'the session file');
    this.#requireRest();
    const { learned, tokens, ...content } = await this.#files.load(path, await this.#parts.engine());
    if (learned !== undefined) this.#parts.learned.of('').take(learned);
    this.#content = { ...content, tokens: Array.from(tokens) };
  }

  get #files(): SessionFiles {
    const { files } = this.#parts;
    if (files !== undefined) return files;
    throw new LinnetError('CONFIG', 'sessions of this model cannot be saved; keep the session');
  }

  #requireRest(): void {
    if (!this.#busy) return;
    throw new LinnetError('INPUT', 'the session is generating; wait for the end of the text');
  }

  async *#run(options: TextOptions, input: PromptInput): AsyncGenerator<TextEvent, void, undefined> {
    this.#requireRest();
    this.#busy = true;
    const { maxTokens = defaultTokens, stop: strings, stopIds = [], ignoreEos, jsonSchema, ...others } = options;
    const { signal, method, speculate: drafter, onEvent, ...sampling } = others;
    let after: (() => SessionContent) | undefined;
    try {
      const engine = await this.#parts.engine();
      const { tokenizer, template, learned, grammars } = this.#parts;
      const { tokens, source } = preparePrompt({ engine, tokenizer, template }, input, { after: this.#content });
      const state = this.#content?.state ?? engine.newState(source && (await engine.encode(source)));
      if (jsonSchema !== undefined && ignoreEos === true) {
        throw new LinnetError('INPUT', 'JSON ends with EOS; leave out ignoreEos or jsonSchema');
      }
      const ends = [...engine.model.eosIds, ...stopIds];
      const constraint = jsonSchema === undefined ? undefined : grammars.json(jsonSchema, ends).after(tokens.length);
      const sampler = new Sampler(sampling, this.#content?.sampler, { constraint });
      const runner = new Runner(engine, { tokenizer, parallel: 1, learned });
      const stop = { strings, tokenIds: stopIds };
      const job = { prompt: { tokens }, state, sampling: sampler, maxTokens, stop, ignoreEos, signal, method, drafter };
      const written: number[] = [];
      for await (const event of runner.submit(job)) {
        after ??= () => ({ state, tokens: [...tokens, ...written], sampler: sampler.random.state });
        if (event.type === 'tokens') written.push(...event.tokens);
        onEvent?.(event);
        yield event;
      }
    } finally {
      // Also where the loop was left early: the state has read no more than this.
      if (after !== undefined) this.#content = after();
      this.#busy = false;
    }
  }
}

/** @throws LinnetError `INPUT` for options of the wrong type */
function checkTextOptions(options: TextOptions): void {
  requireOptions(options, 'the options', textOptionNames);
  const { maxTokens, stop, stopIds, signal, method, speculate, onEvent } = options;
  if (maxTokens !== undefined) requireCount(maxTokens, 'maxTokens');
  if (stop !== undefined) requireTexts(stop, 'stop');
  if (stopIds !== undefined) requireTokens(stopIds, 'stopIds');
  if (signal !== undefined) requireKind(signal, 'signal', ['aborted'], 'an AbortSignal');
  requireFunction(method, 'method');
  requireOneOf(speculate, 'speculate', drafters);
  requireFunction(onEvent, 'onEvent');
}
