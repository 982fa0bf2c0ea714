/** Which tokens may come next in an answer with thoughts: a bound of their number, and a grammar for what follows them. */
import type { GrammarConstraint } from '../../decoding/constraints/grammar-constraint.ts';
import type { TokenConstraint } from '../../decoding/sampler.ts';
import type { Tokenizer } from '../../tokenizer/text-tokens.ts';
import type { ThinkingFormat } from './thinking-format.ts';

/** The marks of a model's thoughts among its tokens. */
export interface ThoughtMarks {
  readonly format: ThinkingFormat;
  readonly tokenizer: Tokenizer;
  isBegunBy(prompt: ArrayLike<number>): boolean;
  tokensOf(mark: string): readonly number[];
  pieceOf(id: number): string;
}

/** An answer to be held. */
export interface HeldThoughts {
  readonly thinking: ThoughtMarks;
  /** Most tokens between the marks; 0 keeps a model from thoughts. Default: any number. */
  readonly budget?: number;
  /** Holds the text after the thoughts, or all of a text without any. Default: any text. */
  readonly constraint?: Pick<GrammarConstraint, 'after'>;
  /** Size of the model's vocabulary. */
  readonly vocabulary: number;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
}

type Phase =
  /** Nothing yet, or the first tokens of the opening mark. */
  | { readonly at: 'start'; readonly opened: number }
  | { readonly at: 'thoughts'; readonly count: number; readonly tail: string }
  | { readonly at: 'closing'; readonly closed: number }
  /** After the closing mark, before anything but blanks. */
  | { readonly at: 'after'; readonly blanks: number }
  /** @param from index of the first token of the text */
  | { readonly at: 'text'; readonly from: number };

/** Tokens of blanks between thoughts and a text that is held to a grammar. */
const mostBlanks = 2;

export function thoughtsConstraint(held: HeldThoughts): Pick<GrammarConstraint, 'after'> {
  const { thinking, budget = Infinity, constraint, vocabulary, ends } = held;
  const { open, close } = thinking.format;
  const [openIds, closeIds] = [thinking.tokensOf(open), thinking.tokensOf(close)];
  const blankIds = ['\n\n', '\n', ' '].flatMap((blank) => {
    const ids = thinking.tokenizer.encode(blank, { follows: 'text' });
    return ids.length === 1 ? [ids[0]] : [];
  });
  /** Tokens by which the closing mark could end in the middle of a token, with letters after it. */
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
  /** Tokens that would close thoughts and begin the text in one, which no grammar could read. */
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
      const inner = new Map<number, TokenConstraint>();
      const textMask = (from: number, text: ArrayLike<number>): Uint8Array | undefined => {
        if (constraint === undefined) return undefined;
        const known = inner.get(from) ?? constraint.after(from);
        inner.set(from, known);
        return known(text);
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
          return constraint === undefined ? undefined : allBut([...ends, ...closingTooFar(phase.tail)]);
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
          const prompt = Array.from({ length: position }, (_, index) => text[index]);
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
