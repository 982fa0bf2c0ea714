/** Finds calls of functions in a text that grows: text before them, names, arguments as JSON; and keeps those of one answer. */
import type { ArgumentReader } from './argument-styles.ts';
import { openingOf, type ToolFormat, type ToolFunction } from './tool-formats.ts';

/** A piece of an answer. */
export type AnswerPart =
  | { readonly type: 'text'; readonly text: string }
  /** A call begins. */
  | { readonly type: 'call'; readonly index: number; readonly name: string }
  /** Its arguments grow. */
  | { readonly type: 'arguments'; readonly index: number; readonly json: string };

/** Parts of a text that is read. */
type Reading =
  /** A text that calls may begin, and nothing else before them. */
  | { readonly step: 'beginning' }
  /** A text that calls may follow. */
  | { readonly step: 'text' }
  /** A text without calls. */
  | { readonly step: 'free' }
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
  #reading: Reading;
  #pending = '';
  /** Calls that have begun. */
  count = 0;

  /** @param isWhole whether calls are the whole text. Default: as the format says */
  constructor(format: ToolFormat, tools: readonly ToolFunction[], isWhole = format.isWhole === true) {
    this.#format = format;
    this.#tools = tools;
    this.#reading = { step: isWhole ? 'beginning' : 'text' };
  }

  /** Whether the last call has not all its arguments. */
  get isInCall(): boolean {
    return this.#reading.step === 'arguments';
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
    if (reading.step === 'beginning') this.#takeBeginning(atEnd);
    else if (reading.step === 'text') this.#takeText(atEnd, parts);
    else if (reading.step === 'free') this.#giveText(this.#pending.length, parts);
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

  /** A text that other rules hold may begin as calls do: it is one from the beginning of the arguments on. */
  #takeBeginning(atEnd: boolean): void {
    const { open, call } = this.#format;
    const before = open + call[0];
    const beginnings = this.#tools.map(({ name }) => before + name + call[1]);
    if (beginnings.some((beginning) => this.#pending.startsWith(beginning))) {
      this.#take(before);
      this.#reading = { step: 'name' };
    } else if (atEnd || !beginnings.some((beginning) => beginning.startsWith(this.#pending))) {
      this.#reading = { step: 'free' };
    }
  }

  #takeText(atEnd: boolean, parts: AnswerPart[]): void {
    const { opening, rest } = openingOf(this.#format);
    const place = this.#pending.indexOf(opening);
    if (place < 0) {
      this.#giveText(this.#pending.length - (atEnd ? 0 : heldBack(this.#pending, opening)), parts);
      return;
    }
    this.#giveText(place, parts);
    this.#take(opening);
    this.#reading = { step: 'literal', text: rest, next: 'name' };
  }

  #giveText(length: number, parts: AnswerPart[]): void {
    if (length > 0) parts.push({ type: 'text', text: this.#pending.slice(0, length) });
    this.#pending = this.#pending.slice(length);
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
function heldBack(text: string, opening: string): number {
  for (let length = Math.min(text.length, opening.length - 1); length > 0; length--) {
    if (opening.startsWith(text.slice(-length))) return length;
  }
  return 0;
}

/** A call as far as it has been read. */
export interface MadeCall {
  readonly callId: string;
  readonly name: string;
  json: string;
}

/** A part of an answer, with the call that it begins or goes on with. */
export type CalledPart =
  | Extract<AnswerPart, { type: 'text' }>
  | (Exclude<AnswerPart, { type: 'text' }> & { readonly call: MadeCall });

export class CalledAnswer {
  readonly calls: MadeCall[] = [];
  /** The text before the calls. */
  content = '';
  readonly #reader: CallReader | undefined;

  /** @param reader undefined for an answer that cannot call: all of it is text */
  constructor(reader: CallReader | undefined) {
    this.#reader = reader;
  }

  /** Whether the last call is cut short, where the answer has ended. */
  get isCut(): boolean {
    return this.#reader?.isInCall === true;
  }

  push(text: string): CalledPart[] {
    return this.#take(this.#reader?.push(text) ?? [{ type: 'text', text }]);
  }

  /** Takes in the text that was held back. */
  end(): CalledPart[] {
    return this.#take(this.#reader?.end() ?? []);
  }

  #take(parts: readonly AnswerPart[]): CalledPart[] {
    return parts.map((part) => {
      if (part.type === 'text') {
        this.content += part.text;
        return part;
      }
      if (part.type === 'call') this.calls.push({ callId: newCallId(), name: part.name, json: '' });
      else this.calls[part.index].json += part.json;
      return { ...part, call: this.calls[part.index] };
    });
  }
}

const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** The id of a call. Templates of Mistral take ids of nine letters and digits alone. */
function newCallId(): string {
  const numbers = crypto.getRandomValues(new Uint8Array(9));
  return Array.from(numbers, (number) => letters[number % letters.length]).join('');
}
