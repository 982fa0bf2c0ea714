/** A text that is being generated: its pieces as they come. */
import type { Generation, TextEvent } from './text-job.ts';
import type { DecodingMethod } from '../decoding/method.ts';
import type { DrafterName } from '../decoding/speculation/drafters/registry.ts';
import { samplerFields, type SamplerInput } from '../decoding/sampler.ts';
import { LinnetError } from '../errors.ts';
import { inspection } from '../files/inspection.ts';

/** How a text is generated. Without sampling options it is greedy: every token is the most probable one. */
export interface TextOptions extends SamplerInput {
  /** Most tokens to produce. Default 128. */
  readonly maxTokens?: number;
  /** Strings that end the text; they are not part of it. */
  readonly stop?: readonly string[];
  /** Tokens that end the text besides EOS. */
  readonly stopIds?: readonly number[];
  /** Takes the model's EOS tokens for any other. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * A JSON schema, parsed: the text is JSON that it accepts, unless `maxTokens` cuts it short. `{ type: 'object' }` accepts
   * any object. Not with `ignoreEos`.
   */
  readonly jsonSchema?: unknown;
  /** Ends the text between two steps; the text so far is the result. */
  readonly signal?: AbortSignal;
  /** How tokens are decoded, `speculative(new LookupDrafter())` for example. Default: as `speculate` says. */
  readonly method?: DecodingMethod;
  /** What drafts where that is faster; it learns from the texts of the model. Default `off`: one token a step. */
  readonly speculate?: DrafterName;
  /** Called with everything that happens, the progress of the prompt included. */
  readonly onEvent?: (event: TextEvent) => void;
}

export const textOptionNames: Readonly<Record<keyof TextOptions, unknown>> = {
  ...samplerFields,
  ...{ maxTokens: true, stop: true, stopIds: true, ignoreEos: true, jsonSchema: true },
  ...{ signal: true, method: true, speculate: true, onEvent: true },
};

/**
 * The pieces of a text as they come, to be iterated over once. Generation begins with the first piece that is asked for;
 * leaving the loop ends it.
 */
export class TextPieces implements AsyncIterable<string> {
  readonly #events: () => AsyncIterable<TextEvent>;
  #started = false;
  #generation: Generation | undefined;

  /** @param events of one generation; called once */
  constructor(events: () => AsyncIterable<TextEvent>) {
    this.#events = events;
  }

  /** @throws LinnetError `INPUT` when the text has been asked for before, and as the generation */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    if (this.#started) {
      throw new LinnetError('INPUT', 'this text has been generated already; call generate again for another');
    }
    this.#started = true;
    for await (const event of this.#events()) {
      if (event.type === 'end') this.#generation = event.generation;
      if (event.type === 'tokens' && event.text !== '') yield event.text;
    }
  }

  /** The whole text, once it has ended. @throws LinnetError as iterating */
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
    throw this.#started
      ? new LinnetError('INPUT', 'the text has not come to its end; iterate over all of it first')
      : new LinnetError('INPUT', 'the text has not been generated; iterate over it first, or await text()');
  }

  /** Shown by `console.log`: how far the text is. */
  toJSON(): Readonly<Record<string, unknown>> {
    if (this.#generation === undefined) return { started: this.#started };
    const { text, tokens, finish, tokensPerSecond } = this.#generation;
    return { text, tokens: tokens.length, finish, tokensPerSecond };
  }

  /** Printed by `console.log`. */
  [inspection](): Readonly<Record<string, unknown>> {
    return this.toJSON();
  }
}
