/** The thoughts of one model: whether a prompt begins them, their readers, their count, and their bounds. */
import type { GrammarConstraint } from '../../decoding/constraints/grammar-constraint.ts';
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';
import { showingTokens } from '../../tokenizer/shown-tokens.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import type { Tokenizer } from '../../tokenizer/text-tokens.ts';
import { type HeldThoughts, thoughtsConstraint } from './thinking-constraint.ts';
import { endsInThoughts, type ThinkingFormat, thinkingFormatOf } from './thinking-format.ts';
import { ThoughtReader } from './thought-reader.ts';

/** Tokens at the end of a prompt among which the opening mark is looked for. */
const lookedAt = 24;

export class Thinking {
  readonly format: ThinkingFormat;
  /** Decodes the marks as part of a text, also where they are control tokens. */
  readonly tokenizer: Tokenizer;
  readonly #pieces = new Map<number, string>();
  #bytes: ((id: number) => Uint8Array | undefined) | undefined;

  constructor(format: ThinkingFormat, tokenizer: Tokenizer) {
    this.format = format;
    this.tokenizer = showingTokens(tokenizer, [format.open, format.close]);
  }

  /** The model's; undefined where its template knows no thoughts. */
  static of(tokenizer: Tokenizer | undefined, template: ChatTemplate | undefined): Thinking | undefined {
    const format = thinkingFormatOf(template);
    return format && tokenizer && new Thinking(format, tokenizer);
  }

  /** Whether a prompt ends in thoughts. */
  isBegunBy(prompt: ArrayLike<number>): boolean {
    const last = Array.from({ length: Math.min(lookedAt, prompt.length) }, (_, index, all = prompt) => {
      return all[all.length - Math.min(lookedAt, all.length) + index];
    });
    return endsInThoughts(this.format, this.tokenizer.decode(last));
  }

  /** A reader of one answer to a prompt. */
  reader(prompt: ArrayLike<number>): ThoughtReader {
    return new ThoughtReader(this.format, this.isBegunBy(prompt));
  }

  /** Tokens of an answer that are thoughts, their marks included. */
  count(prompt: readonly number[], answer: readonly number[]): number {
    const reader = this.reader(prompt);
    const stream = new TextStream(this.tokenizer, [...prompt]);
    let count = 0;
    for (const token of answer) {
      const before = reader.isThinking;
      reader.push(stream.push(token));
      if (before || reader.isThinking) count++;
    }
    return count;
  }

  /**
   * Holds an answer: its thoughts to a number of tokens, after which their closing mark comes, and what follows them to a grammar.
   * @param held undefined budget: any number; no constraint: any text
   */
  constraint(held: Omit<HeldThoughts, 'thinking'>): Pick<GrammarConstraint, 'after'> | undefined {
    if (held.budget === undefined && held.constraint === undefined) return undefined;
    return thoughtsConstraint({ ...held, thinking: this });
  }

  /** The token of a mark, or the tokens that spell it. */
  tokensOf(mark: string): readonly number[] {
    const id = this.tokenizer.specialNames?.get(mark);
    return id === undefined ? Array.from(this.tokenizer.encode(mark, { follows: 'text' })) : [id];
  }

  /** Text of one token; parts of characters are replaced. */
  pieceOf(id: number): string {
    const known = this.#pieces.get(id);
    if (known !== undefined) return known;
    this.#bytes ??= tokenBytes(this.tokenizer);
    const piece = new TextDecoder().decode(this.#bytes(id));
    this.#pieces.set(id, piece);
    return piece;
  }
}
