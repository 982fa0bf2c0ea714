/** One model's thoughts: whether a prompt begins them, their readers, their count and their bounds. */
import type { GrammarConstraint } from '../../decoding/constraints/grammar-constraint.ts';
import type { TokenConstraint } from '../../decoding/sampler.ts';
import type { ChatTemplate } from '../../tokenizer/chat-template.ts';
import { showingTokens } from '../../tokenizer/shown-tokens.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import type { Tokenizer } from '../../tokenizer/text-tokens.ts';
import { endsInThoughts, type ThinkingFormat, thinkingFormatOf } from './thinking-format.ts';
import { ThoughtReader } from './thought-reader.ts';

/** Tokens at a prompt's end among which the opening mark is sought. */
const lookedAt = 24;

/** An answer's bounds. */
interface AnswerBounds {
  /** Most tokens between the marks; 0 prevents thinking. Default: any number. */
  readonly budget?: number;
  /** Holds the text after the thoughts, or a text without thoughts. Default: any text. */
  readonly constraint?: Pick<GrammarConstraint, 'after'>;
  /** Size of the model's vocabulary. */
  readonly vocabulary: number;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
}

export class Thinking {
  readonly format: ThinkingFormat;
  /** Decodes the marks as part of a text, even if they are control tokens. */
  readonly tokenizer: Tokenizer;
  readonly #pieces = new Map<number, string>();
  #bytes: ((id: number) => Uint8Array | undefined) | undefined;

  constructor(format: ThinkingFormat, tokenizer: Tokenizer) {
    this.format = format;
    this.tokenizer = showingTokens(tokenizer, [format.open, format.close]);
  }

  /** The model's; undefined if its template knows no thoughts. */
  static of(tokenizer: Tokenizer, template: ChatTemplate): Thinking | undefined {
    const format = thinkingFormatOf(template);
    return format && new Thinking(format, tokenizer);
  }

  /** Whether a prompt ends inside thoughts. */
  isBegunBy(prompt: ArrayLike<number>): boolean {
    return endsInThoughts(this.format, this.tokenizer.decode(Array.from(prompt).slice(-lookedAt)));
  }

  /** A reader for one answer to a prompt. */
  reader(prompt: ArrayLike<number>): ThoughtReader {
    return new ThoughtReader(this.format, this.isBegunBy(prompt));
  }

  /** Number of an answer's tokens that are thoughts, including their marks. */
  count(prompt: readonly number[], answer: readonly number[]): number {
    const reader = this.reader(prompt);
    const stream = new TextStream(this.tokenizer, prompt);
    let count = 0;
    for (const token of answer) {
      const before = reader.isThinking;
      reader.push(stream.push(token));
      if (before || reader.isThinking) count++;
    }
    return count;
  }

  /** Bounds an answer's thoughts to a number of tokens, followed by their closing mark, and holds the rest to a grammar. */
  constraint(bounds: AnswerBounds): Pick<GrammarConstraint, 'after'> | undefined {
    if (bounds.budget === undefined && bounds.constraint === undefined) return undefined;
    return thoughtsConstraint(this, bounds);
  }

  /** A mark's token, or the tokens that spell it. */
  tokensOf(mark: string): readonly number[] {
    const id = this.tokenizer.specialNames?.get(mark);
    return id === undefined ? Array.from(this.tokenizer.encode(mark, { follows: 'text' })) : [id];
  }

  /** One token's text; parts of characters are replaced. */
  pieceOf(id: number): string {
    const known = this.#pieces.get(id);
    if (known !== undefined) return known;
    this.#bytes ??= tokenBytes(this.tokenizer);
    const piece = new TextDecoder().decode(this.#bytes(id));
    this.#pieces.set(id, piece);
    return piece;
  }
}

type Phase =
  /** Nothing yet, or the opening mark's first tokens. */
  | { readonly at: 'start'; readonly opened: number }
  | { readonly at: 'thoughts'; readonly count: number; readonly tail: string }
  | { readonly at: 'closing'; readonly closed: number }
  /** After the closing mark, with only blanks so far. */
  | { readonly at: 'after'; readonly blanks: number }
  /** @param from index of the text's first token */
  | { readonly at: 'text'; readonly from: number };

/** Blank tokens allowed between thoughts and a text held to a grammar. */
const mostBlanks = 2;

function thoughtsConstraint(
  thinking: Thinking,
  { budget = Infinity, constraint, vocabulary, ends }: AnswerBounds,
): Pick<GrammarConstraint, 'after'> {
  const { open, close } = thinking.format;
  const [openIds, closeIds] = [thinking.tokensOf(open), thinking.tokensOf(close)];
  const blankIds = ['\n\n', '\n', ' '].flatMap((blank) => {
    const ids = thinking.tokenizer.encode(blank, { follows: 'text' });
    return ids.length === 1 ? [ids[0]] : [];
  });
  /** Tokens in which the closing mark could end midway, with letters after it. */
  let overreaching: readonly (readonly [id: number, piece: string])[] | undefined;

  const thoughts = (count: number, tail: string): Phase => {
    if (tail.includes(close)) return { at: 'after', blanks: 0 };
    return count >= budget ? { at: 'closing', closed: 0 } : { at: 'thoughts', count, tail: tail.slice(-close.length) };
  };
  const step = (phase: Phase, token: number, index: number, position: number): Phase => {
    const piece = thinking.pieceOf(token);
    if (phase.at === 'text') return phase;
    if (phase.at === 'thoughts') return thoughts(phase.count + 1, phase.tail + piece);
    if (phase.at === 'start') {
      if (token !== openIds[phase.opened]) return { at: 'text', from: position };
      return phase.opened + 1 < openIds.length ? { at: 'start', opened: phase.opened + 1 } : thoughts(0, '');
    }
    if (phase.at === 'closing') {
      const closed = phase.closed + 1;
      return closed < closeIds.length ? { at: 'closing', closed } : { at: 'after', blanks: 0 };
    }
    const isBlank = piece.trim() === '' && phase.blanks < mostBlanks;
    return isBlank ? { at: 'after', blanks: phase.blanks + 1 } : { at: 'text', from: index };
  };
  const only = (id: number): Uint8Array => {
    const mask = new Uint8Array(vocabulary);
    mask[id] = 1;
    return mask;
  };
  const allBut = (ids: Iterable<number>): Uint8Array => {
    const mask = new Uint8Array(vocabulary).fill(1);
    for (const id of ids) mask[id] = 0;
    return mask;
  };
  /** Tokens that would both close thoughts and begin the text, which no grammar could read. */
  function* closingTooFar(tail: string): Generator<number, void, undefined> {
    const last = close.slice(-1);
    overreaching ??= Array.from({ length: vocabulary }, (_, id) => [id, thinking.pieceOf(id)] as const).filter(
      ([, piece]) => piece.includes(last) && piece.slice(piece.indexOf(last) + 1).trim() !== '',
    );
    for (const [id, piece] of overreaching) {
      const place = (tail + piece).indexOf(close);
      if (place >= 0 && (tail + piece).slice(place + close.length).trim() !== '') yield id;
    }
  }

  return {
    after(position) {
      const phases: Phase[] = [];
      const read: number[] = [];
      /** The text's constraints, by the index of its first token. */
      const rules = new Map<number, TokenConstraint>();
      const textMask = (from: number, text: ArrayLike<number>): Uint8Array | undefined => {
        if (constraint === undefined) return undefined;
        const mask = rules.get(from) ?? constraint.after(from);
        rules.set(from, mask);
        return mask(text);
      };
      const withTokens = (mask: Uint8Array | undefined, ids: readonly number[]): Uint8Array | undefined => {
        if (mask === undefined) return undefined;
        const all = mask.slice();
        for (const id of ids) all[id] = 1;
        return all;
      };
      const allowed = (phase: Phase, text: ArrayLike<number>): Uint8Array | undefined => {
        if (phase.at === 'text') return textMask(phase.from, text);
        if (phase.at === 'closing') return only(closeIds[phase.closed]);
        if (phase.at === 'after') {
          return withTokens(textMask(text.length, text), phase.blanks < mostBlanks ? blankIds : []);
        }
        if (phase.at === 'thoughts') {
          return constraint && allBut([...ends, ...closingTooFar(phase.tail)]);
        }
        const opening = openIds[phase.opened];
        if (budget === 0) {
          const isLast = phase.opened === openIds.length - 1;
          return textMask(position, text) ?? (isLast ? allBut([opening]) : undefined);
        }
        if (phase.opened > 0 && constraint !== undefined) return only(opening);
        return withTokens(textMask(position, text), [opening]);
      };
      return (text) => {
        if (phases.length === 0) {
          const prompt = Array.from(text).slice(0, position);
          phases.push(thinking.isBegunBy(prompt) ? thoughts(0, '') : { at: 'start', opened: 0 });
        }
        let same = 0;
        while (same < read.length && position + same < text.length && read[same] === text[position + same]) same++;
        read.length = same;
        phases.length = same + 1;
        for (let place = position + same; place < text.length; place++) {
          read.push(text[place]);
          phases.push(step(phases[place - position], text[place], place, position));
        }
        return allowed(phases[phases.length - 1], text);
      };
    },
  };
}
