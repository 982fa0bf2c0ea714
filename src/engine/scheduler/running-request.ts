/** One request on its way: its prompt is read chunk by chunk, then its continuations take part in the rounds. */
import { chain } from '../../attention/tree.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine, StepRequest } from '../../decoding/step-engine.ts';
import { TextGeneration, type TokensEvent } from '../text-generation.ts';
import { internalError } from '../../errors.ts';
import type { EventQueue } from './event-queue.ts';
import type { TextPace } from './round-pacing.ts';
import type { RequestEvent, TextRequest } from './text-request.ts';

/** A continuation that takes part in rounds. */
export interface RunningText {
  readonly choice: number;
  readonly generation: TextGeneration;
  readonly pace: TextPace | undefined;
}

export class RunningRequest {
  readonly request: TextRequest;
  readonly events: EventQueue<RequestEvent>;
  readonly signal: AbortSignal | undefined;
  /** Continuations whose prompt has been read and that have not ended. */
  readonly texts: RunningText[] = [];
  readonly #engine: StepEngine;
  #state: SequenceState;
  #ready: boolean;
  /** How many continuations have been made of the prompt. */
  #made = 0;
  /** Time spent reading the prompt. */
  #seconds = 0;
  #announced = false;

  constructor(
    engine: StepEngine,
    request: TextRequest,
    events: EventQueue<RequestEvent>,
    signal: AbortSignal | undefined,
    onReady: () => void,
  ) {
    this.#engine = engine;
    this.request = request;
    this.events = events;
    this.signal = signal;
    this.#state = request.state ?? engine.newState();
    this.#ready = request.fetched === undefined;
    const ready = (state: SequenceState | undefined): void => {
      if (state !== undefined) this.#state = state;
      this.#ready = true;
      onReady();
    };
    request.fetched?.then(ready, () => {
      ready(undefined);
    });
  }

  /** Whether it is known from where the prompt is read. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Rows that the request may have in a round. */
  get width(): number {
    return Math.max(1, this.request.choices.length);
  }

  /** Whether a part of the prompt is still to be read. */
  get reading(): boolean {
    return this.request.maxTokens === 0 ? this.#state.length < this.#total : this.#made < this.request.choices.length;
  }

  /** Whether the prompt has been read as far as its continuations share it. */
  get canStart(): boolean {
    return this.#ready && this.request.maxTokens > 0 && this.reading && this.#state.length >= this.#total - 1;
  }

  /** Whether everything has been read and written. */
  get done(): boolean {
    return !this.reading && this.texts.length === 0;
  }

  get #total(): number {
    return this.request.prompt.length;
  }

  /** Reads the next chunk of the prompt: at most `most` tokens, never across a boundary. Returns how many were read. */
  async readChunk(most: number): Promise<number> {
    const tokens = this.#nextChunk(most);
    const started = performance.now();
    await this.#read(tokens);
    this.tookChunk((performance.now() - started) / 1000);
    return tokens.length;
  }

  /** The same chunk as a part of a step; undefined where the logits of all its tokens are wanted. `tookChunk` follows. */
  planChunk(most: number): StepRequest | undefined {
    if (this.request.onPromptLogits !== undefined) return undefined;
    const tokens = this.#nextChunk(most);
    return { state: this.#state, tree: chain(tokens.length), tokens, wanted: [tokens.length - 1] };
  }

  /** The state has read the chunk, in so many seconds. */
  tookChunk(seconds: number): void {
    const { boundaries = [], onBoundary } = this.request;
    const to = this.#state.length;
    this.#seconds += seconds;
    if (boundaries.includes(to)) onBoundary?.(this.#state, to);
    this.#announce(to);
  }

  #nextChunk(most: number): readonly number[] {
    const { prompt, maxTokens, boundaries = [] } = this.request;
    // The last token is read by each continuation for itself, so that all have logits and a state of their own.
    const shared = maxTokens === 0 ? this.#total : this.#total - 1;
    const from = this.#state.length;
    const next = boundaries.find((length) => length > from) ?? shared;
    return prompt.slice(from, Math.min(shared, from + most, next));
  }

  /** Lets the continuations begin: they take part in the next round, which reads the last token for each. */
  async start(): Promise<void> {
    const { prompt, choices, maxTokens, stop, ignoreEos, tokenizer } = this.request;
    while (this.#made < choices.length) {
      const choice = this.#made++;
      const last = this.#made === choices.length;
      const { sampler, method, pace } = choices[choice];
      const generation = new TextGeneration(this.#engine, {
        promptTokens: prompt,
        maxTokens,
        sampler,
        method,
        stop,
        ignoreEos,
        tokenizer,
        state: last ? this.#state : this.#state.fork(),
      });
      // Weights of prompts are not those of rounds.
      if (this.#engine.readsPromptsApart) await generation.readPrompt();
      this.texts.push({ choice, generation, pace });
    }
  }

  #announce(done: number): void {
    const total = this.#total;
    this.events.push({ type: 'prompt', done, total, state: this.#state, seconds: this.#seconds });
  }

  async #read(tokens: readonly number[]): Promise<void> {
    const { onPromptLogits } = this.request;
    const from = this.#state.length;
    if (onPromptLogits === undefined) {
      await this.#engine.prefill(this.#state, tokens);
      return;
    }
    const nodes = Array.from(tokens, (_, node) => node);
    const request = { state: this.#state, tree: chain(tokens.length), tokens, wanted: nodes };
    const [output] = await this.#engine.step([request], 'prompt');
    output.logits.forEach((logits, node) => {
      onPromptLogits(from + node, logits);
    });
    await this.#engine.commit(request, output, nodes);
  }

  /** Takes in what a round gave a text; settles and reports it where that ended it. */
  async took(text: RunningText, event: TokensEvent): Promise<void> {
    if (!this.#announced) {
      this.#announced = true;
      this.#announce(this.#total);
    }
    if (event.tokens.length > 0 || event.text !== '') {
      this.events.push({ type: 'tokens', choice: text.choice, tokens: event.tokens, text: event.text });
    }
    if (text.generation.finish === undefined) return;
    const index = this.texts.indexOf(text);
    if (index < 0) throw internalError('a text ends twice');
    this.texts.splice(index, 1);
    await text.generation.settle();
    this.events.push({ type: 'end', choice: text.choice, generation: text.generation.result() });
  }
}
