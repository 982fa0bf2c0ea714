/** The text of one choice, with the calls of functions in it. */
import type { AnswerPart, CallReader } from './call-reader.ts';

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
