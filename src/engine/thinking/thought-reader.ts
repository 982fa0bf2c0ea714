/** Separates thoughts from text in a growing answer. */
import { blanksBefore, heldBack } from '../text/marks.ts';
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
export class ThoughtReader {
  readonly #format: ThinkingFormat;
  #place: Place;
  #pending = '';

  /** @param begun whether the prompt ends inside thoughts */
  constructor(format: ThinkingFormat, begun: boolean) {
    this.#format = format;
    this.#place = begun ? 'opened' : 'start';
  }

  /** Whether the text so far ends inside thoughts. */
  get isThinking(): boolean {
    return this.#place === 'opened' || this.#place === 'thoughts';
  }

  /** Takes more of the answer; returns the parts that have become certain. */
  push(text: string): ThoughtPart[] {
    this.#pending += text;
    return this.#read(false);
  }

  /** Ends the answer: returns the parts held back. */
  end(): ThoughtPart[] {
    return this.#read(true);
  }

  #read(atEnd: boolean): ThoughtPart[] {
    const parts: ThoughtPart[] = [];
    for (let before = ''; before !== `${this.#place} ${this.#pending.length}`; ) {
      before = `${this.#place} ${this.#pending.length}`;
      if (this.#place === 'start') this.#start(atEnd);
      else if (this.#place === 'opened') this.#open(atEnd);
      else if (this.#place === 'thoughts') this.#thoughts(atEnd, parts);
      else if (this.#place === 'closed') this.#afterThoughts(atEnd);
      else this.#text(atEnd, parts);
    }
    return parts;
  }

  #start(atEnd: boolean): void {
    const { open } = this.#format;
    const begun = this.#pending.slice(blanksBefore(this.#pending));
    if (begun.startsWith(open)) this.#goTo('opened', this.#pending.length - begun.length + open.length);
    else if (atEnd || !open.startsWith(begun)) this.#goTo('text', this.#pending.length - begun.length);
  }

  #open(atEnd: boolean): void {
    const { open, close, label, isAnywhere } = this.#format;
    const blanks = blanksBefore(this.#pending);
    const begun = this.#pending.slice(blanks);
    const labels = label === undefined ? [] : [`${label}\n`, label + close];
    if (begun === '') return;
    if (isAnywhere === true && begun.startsWith(open)) this.#goTo('opened', blanks + open.length);
    else if (label !== undefined && labels.some((one) => begun.startsWith(one))) {
      this.#goTo('thoughts', blanks + label.length);
      this.#pending = this.#pending.slice(blanksBefore(this.#pending));
      if (this.#pending === '') this.#place = 'opened';
    } else if (atEnd && begun === label) this.#goTo('text', this.#pending.length);
    else {
      const waited = isAnywhere === true ? [open, ...labels] : labels;
      if (atEnd || !waited.some((one) => one.startsWith(begun))) this.#goTo('thoughts', blanks);
    }
  }

  #thoughts(atEnd: boolean, parts: ThoughtPart[]): void {
    const { open, close, isAnywhere } = this.#format;
    const closed = this.#pending.indexOf(close);
    const repeated = isAnywhere === true ? this.#pending.indexOf(open) : -1;
    if (repeated >= 0 && (closed < 0 || repeated < closed)) {
      this.#give('thought', repeated, parts);
      this.#goTo('opened', open.length);
      return;
    }
    if (closed >= 0) {
      this.#give('thought', this.#pending.slice(0, closed).trimEnd().length, parts);
      this.#goTo('closed', this.#pending.indexOf(close) + close.length);
      return;
    }
    const held = atEnd ? 0 : Math.max(heldBack(this.#pending, close), isAnywhere ? heldBack(this.#pending, open) : 0);
    const certain = this.#pending.slice(0, this.#pending.length - held).trimEnd();
    this.#give('thought', certain.length, parts);
    if (atEnd) this.#pending = '';
  }

  #afterThoughts(atEnd: boolean): void {
    this.#pending = this.#pending.slice(blanksBefore(this.#pending));
    if (this.#pending !== '' || atEnd) this.#place = 'text';
  }

  #text(atEnd: boolean, parts: ThoughtPart[]): void {
    const { open, close, isAnywhere } = this.#format;
    const marks = isAnywhere === true ? [open, close] : [];
    const places = marks.map((mark) => this.#pending.indexOf(mark)).filter((place) => place >= 0);
    if (places.length > 0) {
      const place = Math.min(...places);
      this.#give('text', place, parts);
      const isOpening = this.#pending.startsWith(open);
      // A closing mark without an opening one means nothing.
      this.#goTo(isOpening ? 'opened' : 'text', isOpening ? open.length : close.length);
      return;
    }
    const held = atEnd ? 0 : Math.max(0, ...marks.map((mark) => heldBack(this.#pending, mark)));
    this.#give('text', this.#pending.length - held, parts);
  }

  #give(type: ThoughtPart['type'], length: number, parts: ThoughtPart[]): void {
    if (length > 0) parts.push({ type, text: this.#pending.slice(0, length) });
    this.#pending = this.#pending.slice(length);
  }

  #goTo(place: Place, dropped: number): void {
    this.#place = place;
    this.#pending = this.#pending.slice(dropped);
  }
}
