/** Finds function calls in a growing text: text around them, names, arguments as JSON; and collects one answer's calls. */
import { blanksBefore, heldBack } from '../text/marks.ts';
import { PendingReader } from '../text/pending-reader.ts';
import type { ThoughtPart, ThoughtReader } from '../thinking/thought-reader.ts';
import type { ArgumentReader } from './argument-styles.ts';
import { CallObjectReader } from './call-object.ts';
import { openingOf, type ToolFormat, type ToolFunction } from './tool-formats.ts';

/** A piece of an answer. */
export type AnswerPart =
  | { readonly type: 'text'; readonly text: string }
  /** A call begins. */
  | { readonly type: 'call'; readonly index: number; readonly name: string; readonly id?: string }
  /** Its arguments grow. */
  | { readonly type: 'arguments'; readonly index: number; readonly json: string };

/** Where reading stands. */
type Reading =
  /** In text that must begin with calls. */
  | { readonly step: 'beginning' }
  /** In text that calls may follow. */
  | { readonly step: 'text' }
  /** In text without calls. */
  | { readonly step: 'free' }
  /** Between the opening, calls and the closing. */
  | { readonly step: 'inside' }
  | { readonly step: 'object'; readonly reader: CallObjectReader }
  | { readonly step: 'name' }
  | { readonly step: 'arguments'; readonly reader: ArgumentReader }
  /** In blanks and repeated closings after calls. */
  | { readonly step: 'after' }
  /** After calls that are the whole text. */
  | { readonly step: 'end' };

/**
 * Reads one answer. Its text follows `toolGrammar`, as far as it goes, or is what unconstrained models write: other blanks,
 * other orders, text after calls. Text that opens like a call but is none stays text.
 */
export class CallReader extends PendingReader<AnswerPart> {
  readonly #format: ToolFormat;
  readonly #tools: readonly ToolFunction[];
  readonly #opening: string;
  readonly #closings: readonly string[];
  #reading: Reading;
  /** The text since an opening that is not a call yet. */
  #unread = '';
  /** Calls that have begun. */
  count = 0;
  /** Whether the last call's arguments are incomplete. */
  isInCall = false;

  /** @param isWhole whether calls are the whole text. Default: the format's */
  constructor(format: ToolFormat, tools: readonly ToolFunction[], isWhole = format.isWhole === true) {
    super();
    this.#format = format;
    this.#tools = tools;
    this.#opening = openingOf(format).opening;
    this.#closings = format.closing ?? [];
    this.#reading = { step: isWhole ? 'beginning' : 'text' };
  }

  protected override get place(): string {
    return this.#reading.step;
  }

  protected override step(atEnd: boolean, parts: AnswerPart[]): void {
    const reading = this.#reading;
    // Once there are calls, the beginning of a mark at the end is no text.
    const isText = atEnd && this.count === 0;
    if (reading.step === 'beginning') this.#takeBeginning(atEnd);
    else if (reading.step === 'text') this.#takeText(atEnd, parts);
    else if (reading.step === 'free') this.#giveText(this.pending.length, parts);
    else if (reading.step === 'inside') this.#takeInside(isText, parts);
    else if (reading.step === 'object') this.#takeObject(reading.reader, parts);
    else if (reading.step === 'name') this.#takeName(parts);
    else if (reading.step === 'after') this.#takeAfter(isText);
    else if (reading.step === 'arguments') {
      const { taken, json, ended } = reading.reader.read(this.pending);
      this.take(taken);
      if (json !== '') parts.push({ type: 'arguments', index: this.count - 1, json });
      if (ended) this.#endCall();
    }
  }

  /** Text under other rules may begin like calls: it counts as a call only once its arguments begin. */
  #takeBeginning(atEnd: boolean): void {
    const { open, call, callId = call[1] } = this.#format;
    const beginnings = this.#tools.map(({ name }) => open + call[0] + name + callId);
    if (beginnings.some((beginning) => this.pending.startsWith(beginning))) {
      this.take(open.length);
      this.#reading = { step: 'inside' };
    } else if (atEnd || !beginnings.some((beginning) => beginning.startsWith(this.pending))) {
      this.#reading = { step: 'free' };
    }
  }

  #takeText(atEnd: boolean, parts: AnswerPart[]): void {
    const place = this.pending.indexOf(this.#opening);
    if (place < 0) {
      this.#giveText(this.pending.length - (atEnd ? 0 : heldBack(this.pending, this.#opening)), parts);
      return;
    }
    this.#giveText(place, parts);
    this.#unread = '';
    this.#drop(this.#opening.length);
    this.#reading = { step: 'inside' };
  }

  #takeInside(isText: boolean, parts: AnswerPart[]): void {
    const { call, isWhole, control } = this.#format;
    this.#drop(/^[\s,[]*/.exec(this.pending)?.[0].length ?? 0);
    const marks = [...this.#closings, ...control.slice(0, 1)];
    const mark = marks.find((one) => this.pending.startsWith(one));
    if (mark !== undefined) {
      this.#drop(mark.length);
      if (mark !== this.#opening) this.#reading = { step: 'after' };
    } else if (this.pending === '' || (!isText && marks.some((one) => one.startsWith(this.pending)))) return;
    else if (this.pending.startsWith(']')) {
      this.#drop(1);
      if (this.#closings.length === 0) this.#reading = { step: isWhole === true ? 'end' : 'after' };
    } else if (call[0].startsWith('{')) this.#reading = { step: 'object', reader: new CallObjectReader() };
    else if (this.pending.startsWith(call[0])) {
      this.#drop(call[0].length);
      this.#reading = { step: 'name' };
    } else if (!call[0].startsWith(this.pending)) this.#giveBack(parts);
  }

  #takeObject(reader: CallObjectReader, parts: AnswerPart[]): void {
    const {
      taken,
      call: { name, id, json },
    } = reader.read(this.pending);
    this.#drop(taken);
    if (reader.failed) {
      this.#giveBack(parts);
      return;
    }
    if (name !== undefined) this.#beginCall({ name, id }, parts);
    if (json !== '') parts.push({ type: 'arguments', index: this.count - 1, json });
    if (reader.ended) this.#endCall();
  }

  #takeName(parts: AnswerPart[]): void {
    const { call, callId, style } = this.#format;
    const mark = call[1].trimEnd();
    const end = this.pending.indexOf(mark);
    const [name = '', id] = this.pending.slice(0, end < 0 ? undefined : end).split(callId ?? mark);
    if (!/^[\w.-]*$/.test(name.split(mark[0])[0].trim())) this.#giveBack(parts);
    if (end < 0 || this.#reading.step !== 'name') return;
    this.#drop(end + mark.length);
    const parameters = this.#tools.find((tool) => tool.name === name.trim())?.parameters ?? {};
    this.#beginCall({ name: name.trim(), id }, parts);
    this.#reading = { step: 'arguments', reader: style.reader(parameters) };
  }

  #takeAfter(isText: boolean): void {
    this.#drop(blanksBefore(this.pending));
    const mark = this.#closings.find((one) => this.pending.startsWith(one));
    if (mark !== undefined) this.#drop(mark.length);
    else if (
      isText ||
      ![...this.#closings, this.#opening].some((one) => heldBack(this.pending, one) === this.pending.length)
    ) {
      this.#reading = { step: 'text' };
    }
  }

  #beginCall({ name, id }: { readonly name: string; readonly id?: string }, parts: AnswerPart[]): void {
    parts.push({ type: 'call', index: this.count++, name, ...(id !== undefined && { id }) });
    this.isInCall = true;
  }

  #endCall(): void {
    const { between, open, isWhole } = this.#format;
    this.isInCall = false;
    this.#unread = '';
    const isList = this.#closings.length > 0 || open.endsWith('[');
    if (isWhole === true && between === undefined) this.#reading = { step: 'end' };
    else this.#reading = { step: isList ? 'inside' : 'after' };
  }

  /** Turns an apparent call back into text. */
  #giveBack(parts: AnswerPart[]): void {
    if (this.#unread !== '') parts.push({ type: 'text', text: this.#unread });
    this.#unread = '';
    this.#reading = { step: 'text' };
  }

  #giveText(length: number, parts: AnswerPart[]): void {
    if (length > 0) parts.push({ type: 'text', text: this.take(length) });
  }

  /** Skips the next characters, which become text again if no call follows. */
  #drop(length: number): void {
    this.#unread += this.take(length);
  }
}

/** A call, as far as it has been read. */
export interface MadeCall {
  readonly callId: string;
  readonly name: string;
  json: string;
}

/** A part of an answer, with the call that it begins or continues. */
export type CalledPart = ThoughtPart | (Exclude<AnswerPart, { type: 'text' }> & { readonly call: MadeCall });

/** One answer: its thoughts, its text and its calls. */
export class CalledAnswer {
  readonly calls: MadeCall[] = [];
  /** The text around the calls. */
  content = '';
  thoughts = '';
  readonly #reader: CallReader | undefined;
  readonly #thoughts: ThoughtReader | undefined;

  /**
   * @param reader undefined for an answer that cannot call
   * @param thoughts undefined for one without thoughts
   */
  constructor(reader: CallReader | undefined, thoughts?: ThoughtReader) {
    this.#reader = reader;
    this.#thoughts = thoughts;
  }

  /** Whether the last call is cut short, once the answer has ended. */
  get isCut(): boolean {
    return this.#reader?.isInCall === true;
  }

  push(text: string): CalledPart[] {
    return this.#take(this.#thoughts?.push(text) ?? [{ type: 'text', text }]);
  }

  /** Takes in held-back text. */
  end(): CalledPart[] {
    return [...this.#take(this.#thoughts?.end() ?? []), ...this.#called(this.#reader?.end() ?? [])];
  }

  #take(parts: readonly ThoughtPart[]): CalledPart[] {
    return parts.flatMap((part) => {
      if (part.type === 'text') return this.#called(this.#reader?.push(part.text) ?? [part]);
      this.thoughts += part.text;
      return [part];
    });
  }

  #called(parts: readonly AnswerPart[]): CalledPart[] {
    return parts.map((part) => {
      if (part.type === 'text') {
        this.content += part.text;
        return part;
      }
      if (part.type === 'call') this.calls.push({ callId: callIdOf(part.id), name: part.name, json: '' });
      else this.calls[part.index].json += part.json;
      return { ...part, call: this.calls[part.index] };
    });
  }
}

/** The id that the model gave a call, or a new one. Mistral's templates accept only ids of nine letters and digits. */
function callIdOf(written = ''): string {
  if (/^[a-zA-Z0-9]{9}$/.test(written)) return written;
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => (byte % 36).toString(36)).join('');
}
