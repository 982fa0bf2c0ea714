/**
 * A text as it grows by tokens: the characters that have become certain, and the rules that end it. It knows no model and no
 * engine, so that whatever decodes, one text at a time or many, ends texts by the same rules.
 */
import { LinnetError } from '../errors.ts';
import { StopStringMatcher } from '../tokenizer/stop-strings.ts';
import { TextStream } from '../tokenizer/text-stream.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { StepBounds } from '../decoding/method.ts';
import type { FinishReason, TextJob } from './text-job.ts';
import { requireCount, requireKind, requireOptions, requireTexts, requireTokens } from '../files/arguments.ts';

/** Decoding of tokens to characters, and the rules that end a text. */
interface TextRules extends Pick<TextJob, 'maxTokens' | 'stop' | 'ignoreEos'> {
  /** Makes characters of tokens. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
}

/** Tokens and text that one round has added. */
export interface TextPiece {
  /** Tokens that became part of the text. */
  readonly tokens: readonly number[];
  /** Characters that became certain; those of later tokens may have to come first. */
  readonly text: string;
}

/** Prompt and continuation of one text under generation. */
export class GrowingText {
  readonly promptLength: number;
  /** Set when the text has ended. */
  #finish: FinishReason | undefined;
  readonly #tokens: number[];
  readonly #maxTokens: number;
  readonly #ends: ReadonlyMap<number, FinishReason>;
  readonly #stream: TextStream | undefined;
  readonly #matcher: StopStringMatcher | undefined;
  readonly #keepsStop: boolean;
  readonly #stopsAfter: number;
  #stopped = false;
  #text = '';
  /** Whether a token that is not in the text ended it. */
  #endedByToken = false;

  /**
   * @param prompt not empty
   * @param eosIds tokens that the model ends with
   * @throws LinnetError `INPUT` for `maxTokens` that is not a whole number of at least 1, an empty stop string, or stop
   *   strings without a tokenizer
   */
  constructor(prompt: readonly number[], eosIds: readonly number[], options: TextRules) {
    const { maxTokens, tokenizer, stop } = options;
    requireCount(maxTokens, 'maxTokens');
    requireOptions(stop, 'stop');
    const strings = stop?.strings ?? [];
    requireTexts(strings, 'stop strings');
    requireTokens(stop?.tokenIds ?? [], 'stop tokens');
    if (tokenizer !== undefined) requireKind(tokenizer, 'tokenizer', ['encode', 'decode'], 'a tokenizer');
    if (tokenizer === undefined && strings.length > 0) {
      throw new LinnetError('INPUT', 'stop strings need a tokenizer; give one, or stop at token ids');
    }
    this.#tokens = [...prompt];
    this.promptLength = prompt.length;
    this.#maxTokens = maxTokens;
    this.#ends = endTokens(eosIds, options);
    this.#stream = tokenizer === undefined ? undefined : new TextStream(tokenizer, prompt);
    this.#matcher = strings.length === 0 ? undefined : new StopStringMatcher(strings);
    this.#keepsStop = stop?.kept === true;
    this.#stopsAfter = stop?.after ?? 0;
  }

  /** Why the text ended; undefined while it grows. */
  get finish(): FinishReason | undefined {
    return this.#finish;
  }

  /** Prompt and continuation. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The continuation. The EOS or stop token that ended it is not in it; the tokens of a stop string are. */
  get continuation(): readonly number[] {
    return this.#tokens.slice(this.promptLength);
  }

  /** Characters of the continuation that are certain, without the stop string unless it is kept. */
  get text(): string {
    return this.#text;
  }

  /** Where the next round of a decoding method has to stop. */
  get bounds(): StepBounds {
    return { count: this.#maxTokens - (this.#tokens.length - this.promptLength), ends: this.#ends };
  }

  /** How much of an ended text a state may have read: all of it where a token ended it, else all but the last token. */
  get settledLength(): number {
    return this.#endedByToken ? this.#tokens.length : this.#tokens.length - 1;
  }

  /** Adds the tokens of a round, as far as nothing among them ends the text. */
  take(tokens: readonly number[]): TextPiece {
    const before = this.#tokens.length;
    let text = '';
    for (const token of tokens) {
      if (this.#finish !== undefined) break;
      text += this.#push(token);
    }
    if (this.#finish !== undefined) {
      text += this.#flush();
      if (this.#stopped) this.#finish = 'stop'; // what was held back can complete a stop string
    }
    this.#text += text;
    return { tokens: this.#tokens.slice(before), text };
  }

  /** Ends the text as it is. Returns the text held back for stop strings. */
  end(reason: FinishReason): TextPiece {
    this.#finish ??= reason;
    const text = this.#flush();
    this.#text += text;
    return { tokens: [], text };
  }

  /** Adds a token and returns the text that has become certain. */
  #push(token: number): string {
    this.#finish = this.#ends.get(token);
    if (this.#finish !== undefined) {
      this.#endedByToken = true;
      return '';
    }
    this.#tokens.push(token);
    const piece = this.#stream?.push(token) ?? '';
    const text = this.#tokens.length - this.promptLength <= this.#stopsAfter ? piece : this.#match(piece);
    if (this.#stopped) this.#finish = 'stop';
    else if (this.#tokens.length - this.promptLength >= this.#maxTokens) this.#finish = 'length';
    return text;
  }

  /** The text held back for stop strings and unfinished characters. */
  #flush(): string {
    return this.#match(this.#stream?.flush() ?? '') + (this.#matcher?.flush() ?? '');
  }

  #match(piece: string): string {
    if (this.#matcher === undefined) return piece;
    const { text, match } = this.#matcher.push(piece);
    if (match === undefined || this.#stopped) return text;
    this.#stopped = true;
    return this.#keepsStop ? text + match : text;
  }
}

/** The tokens that end a text, with their reasons. */
function endTokens(eosIds: readonly number[], { stop, ignoreEos = false }: TextRules): Map<number, FinishReason> {
  const ends = new Map<number, FinishReason>();
  for (const id of stop?.tokenIds ?? []) ends.set(id, 'stop');
  if (!ignoreEos) for (const id of eosIds) ends.set(id, 'eos');
  return ends;
}
