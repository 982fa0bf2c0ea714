/** Finds calls of functions in a text that grows: text before them, names, arguments as JSON. */
import type { ArgumentReader } from './argument-styles.ts';
import { openingOf, type ToolFormat, type ToolFunction } from './tool-format.ts';

/** A piece of an answer. */
export type AnswerPart =
  | { readonly type: 'text'; readonly text: string }
  /** A call begins. */
  | { readonly type: 'call'; readonly index: number; readonly name: string }
  /** Its arguments grow. */
  | { readonly type: 'arguments'; readonly index: number; readonly json: string };

/** Parts of a text that is read. */
type Reading =
  | { readonly step: 'text' }
  | { readonly step: 'literal'; readonly text: string; readonly next: 'name' | 'after' }
  | { readonly step: 'name' }
  | { readonly step: 'arguments'; readonly reader: ArgumentReader }
  | { readonly step: 'after' }
  | { readonly step: 'end' };

/**
 * Reads one answer. Its text is one of `toolGrammar`, as far as it goes; `push` gives the parts that have become certain.
 */
export class CallReader {
  readonly #format: ToolFormat;
  readonly #tools: readonly ToolFunction[];
  #reading: Reading = { step: 'text' };
  #pending = '';
  #isBegun = false;
  /** Calls that have begun. */
  count = 0;

  constructor(format: ToolFormat, tools: readonly ToolFunction[]) {
    this.#format = format;
    this.#tools = tools;
  }

  /** Takes more of the text. */
  push(text: string): AnswerPart[] {
    this.#pending += text;
    return this.#read(false);
  }

  /** Ends the text: the parts that were held back. */
  end(): AnswerPart[] {
    return this.#read(true);
  }

  #read(atEnd: boolean): AnswerPart[] {
    const parts: AnswerPart[] = [];
    for (let before = ''; before !== `${this.#reading.step} ${this.#pending.length}`; ) {
      before = `${this.#reading.step} ${this.#pending.length}`;
      this.#step(atEnd, parts);
    }
    return parts;
  }

  #step(atEnd: boolean, parts: AnswerPart[]): void {
    const { call, between, close } = this.#format;
    const reading = this.#reading;
    if (reading.step === 'text') this.#takeText(atEnd, parts);
    else if (reading.step === 'name') {
      const end = this.#pending.indexOf(call[1]);
      if (end < 0) return;
      const name = this.#pending.slice(0, end);
      this.#pending = this.#pending.slice(end + call[1].length);
      const parameters = this.#tools.find((tool) => tool.name === name)?.parameters ?? {};
      this.#reading = { step: 'arguments', reader: this.#format.style.reader(parameters) };
      parts.push({ type: 'call', index: this.count++, name });
    } else if (reading.step === 'arguments') {
      const { taken, json, ended } = reading.reader.read(this.#pending);
      this.#pending = this.#pending.slice(taken);
      if (json !== '') parts.push({ type: 'arguments', index: this.count - 1, json });
      if (ended) this.#reading = { step: 'literal', text: call[2], next: 'after' };
    } else if (reading.step === 'literal') {
      if (this.#take(reading.text)) this.#reading = { step: reading.next };
    } else if (reading.step === 'after') {
      const next = between === undefined ? undefined : between + call[0];
      if (next !== undefined && this.#take(next)) this.#reading = { step: 'name' };
      else if ((atEnd || next?.startsWith(this.#pending) !== true) && this.#take(close))
        this.#reading = { step: 'end' };
    }
  }

  #takeText(atEnd: boolean, parts: AnswerPart[]): void {
    const { opening, rest } = openingOf(this.#format);
    const { isWhole = false } = this.#format;
    const place = this.#pending.indexOf(opening);
    const isFound = isWhole ? place === 0 && !this.#isBegun : place >= 0;
    let certain = isFound ? place : this.#pending.length;
    if (!isFound && !atEnd && !(isWhole && this.#isBegun)) certain -= heldBack(this.#pending, opening, isWhole);
    if (certain > 0) parts.push({ type: 'text', text: this.#pending.slice(0, certain) });
    this.#isBegun ||= certain > 0;
    this.#pending = this.#pending.slice(certain);
    if (!isFound) return;
    this.#take(opening);
    this.#reading = { step: 'literal', text: rest, next: 'name' };
  }

  /** Takes a text that must come next; whether it is there yet. */
  #take(text: string): boolean {
    if (this.#pending.startsWith(text)) {
      this.#pending = this.#pending.slice(text.length);
      return true;
    }
    return false;
  }
}

/** Characters at the end of a text that may be the beginning of an opening. */
function heldBack(text: string, opening: string, isWhole: boolean): number {
  if (isWhole) return opening.startsWith(text) ? text.length : 0;
  for (let length = Math.min(text.length, opening.length - 1); length > 0; length--) {
    if (opening.startsWith(text.slice(-length))) return length;
  }
  return 0;
}
