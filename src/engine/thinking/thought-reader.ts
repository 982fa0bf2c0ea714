/** Separates thoughts from text in a growing answer. */
import { blanksBefore, heldBack } from '../text/marks.ts';
import { PendingReader } from '../text/pending-reader.ts';
import type { ThinkingFormat } from './thinking-format.ts';

/** A piece of an answer. */
export type ThoughtPart =
  | { readonly type: 'thought'; readonly text: string }
  | { readonly type: 'text'; readonly text: string };

/**
 * Where the reader is: `start` before a text that may begin with thoughts, `opened` before the thoughts' first letter, `closed`
 * before the first letter of the text after them.
 */
type Place = 'start' | 'opened' | 'thoughts' | 'closed' | 'text';

/** Reads one answer. Blanks around thoughts belong to neither thoughts nor text. */
export class ThoughtReader extends PendingReader<ThoughtPart> {
  protected override place: Place;
  readonly #format: ThinkingFormat;

  /** @param begun whether the prompt ends inside thoughts */
  constructor(format: ThinkingFormat, begun: boolean) {
    super();
    this.#format = format;
    this.place = begun ? 'opened' : 'start';
  }

  /** Whether the text so far ends inside thoughts. */
  get isThinking(): boolean {
    return this.place === 'opened' || this.place === 'thoughts';
  }

  protected override step(atEnd: boolean, parts: ThoughtPart[]): void {
    if (this.place === 'start') this.#start(atEnd);
    else if (this.place === 'opened') this.#open(atEnd);
    else if (this.place === 'thoughts') this.#thoughts(atEnd, parts);
    else if (this.place === 'closed') this.#afterThoughts(atEnd);
    else this.#text(atEnd, parts);
  }

  #start(atEnd: boolean): void {
    const { open } = this.#format;
    const begun = this.pending.slice(blanksBefore(this.pending));
    if (begun.startsWith(open)) this.#goTo('opened', this.pending.length - begun.length + open.length);
    else if (atEnd || !open.startsWith(begun)) this.#goTo('text', this.pending.length - begun.length);
  }

  #open(atEnd: boolean): void {
    const { open, close, label, isAnywhere } = this.#format;
    const blanks = blanksBefore(this.pending);
    const begun = this.pending.slice(blanks);
    const labels = label === undefined ? [] : [`${label}\n`, label + close];
    if (begun === '') return;
    if (isAnywhere === true && begun.startsWith(open)) this.#goTo('opened', blanks + open.length);
    else if (label !== undefined && labels.some((one) => begun.startsWith(one))) {
      this.#goTo('thoughts', blanks + label.length);
      this.take(blanksBefore(this.pending));
      if (this.pending === '') this.place = 'opened';
    } else if (atEnd && begun === label) this.#goTo('text', this.pending.length);
    else {
      const waited = isAnywhere === true ? [open, ...labels] : labels;
      if (atEnd || !waited.some((one) => one.startsWith(begun))) this.#goTo('thoughts', blanks);
    }
  }

  #thoughts(atEnd: boolean, parts: ThoughtPart[]): void {
    const { open, close, isAnywhere } = this.#format;
    const { length, mark } = this.#upTo(isAnywhere === true ? [open, close] : [close], atEnd);
    if (mark === open) {
      this.#give('thought', length, parts);
      this.#goTo('opened', open.length);
      return;
    }
    this.#give('thought', this.pending.slice(0, length).trimEnd().length, parts);
    if (mark === close) this.#goTo('closed', this.pending.indexOf(close) + close.length);
    else if (atEnd) this.pending = '';
  }

  #afterThoughts(atEnd: boolean): void {
    this.take(blanksBefore(this.pending));
    if (this.pending !== '' || atEnd) this.place = 'text';
  }

  #text(atEnd: boolean, parts: ThoughtPart[]): void {
    const { open, close, isAnywhere } = this.#format;
    const { length, mark } = this.#upTo(isAnywhere === true ? [open, close] : [], atEnd);
    this.#give('text', length, parts);
    // A closing mark without an opening one means nothing.
    if (mark !== undefined) this.#goTo(mark === open ? 'opened' : 'text', mark.length);
  }

  /** The characters before the first of some marks; without one, those that begin none. */
  #upTo(marks: readonly string[], atEnd: boolean): { readonly length: number; readonly mark?: string } {
    const places = marks.map((mark) => this.pending.indexOf(mark)).filter((place) => place >= 0);
    if (places.length > 0) {
      const length = Math.min(...places);
      return { length, mark: marks.find((mark) => this.pending.startsWith(mark, length)) };
    }
    const held = atEnd ? 0 : Math.max(0, ...marks.map((mark) => heldBack(this.pending, mark)));
    return { length: this.pending.length - held };
  }

  #give(type: ThoughtPart['type'], length: number, parts: ThoughtPart[]): void {
    if (length > 0) parts.push({ type, text: this.take(length) });
  }

  #goTo(place: Place, dropped: number): void {
    this.place = place;
    this.take(dropped);
  }
}
