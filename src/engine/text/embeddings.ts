/** Embeddings of texts: the mean of the last hidden states, scaled to length 1. */
import { OverloadError } from '../../errors.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** Embeds texts while others are written: steps of the engine take turns, chunk by chunk. */
export class Embeddings {
  readonly width: number;
  readonly longest: number;
  readonly #engine: StepEngine;
  readonly #tokenizer: Tokenizer;
  readonly #most: number;
  #running = 0;

  /**
   * @param most texts at a time, including those that wait
   * @param promptTokens most tokens per text
   */
  constructor(engine: StepEngine, tokenizer: Tokenizer, most: number, promptTokens: number) {
    const { sizes, positions } = engine.model;
    this.width = sizes.width;
    this.longest = Math.min(promptTokens, positions.limit - 1);
    this.#engine = engine;
    this.#tokenizer = tokenizer;
    this.#most = most;
  }

  /** @param most tokens to keep of a text. Default: all */
  layOut(text: string, most = Infinity): number[] {
    return textTokens(this.#tokenizer, text, { whole: true }).slice(0, most);
  }

  /**
   * A text's embedding: [width].
   * @param tokens not empty
   * @throws OverloadError for too many at a time; LinnetError `ABORTED` when the signal fires between two chunks
   */
  async embed(tokens: readonly number[], signal: AbortSignal): Promise<Float32Array> {
    if (this.#running >= this.#most) throw new OverloadError('full');
    this.#running++;
    try {
      return await this.#mean(tokens, signal);
    } finally {
      this.#running--;
    }
  }

  async #mean(tokens: readonly number[], signal: AbortSignal): Promise<Float32Array> {
    const { width } = this.#engine.model.sizes;
    const sum = new Float64Array(width);
    const state = this.#engine.newState();
    for await (const { output } of this.#engine.read(state, tokens, { signal }, true)) {
      for (const hidden of output.hidden) hidden.forEach((value, i) => (sum[i] += value));
    }
    const length = Math.hypot(...sum);
    return Float32Array.from(sum, (value) => (length === 0 ? 0 : value / length));
  }
}
