/** Reads a call written as a JSON object, `{"name": …, "arguments": {…}}`, from a growing text, whatever its members' order. */
import { isJsonObject, jsonIn } from '../../files/json-object.ts';

/** Finds the end of a JSON value: counts brackets and strings over a text's pieces. */
export class ValueScan {
  depth = 0;
  inString = false;
  #escaped = false;

  next(letter: string): void {
    if (this.inString) {
      if (this.#escaped) this.#escaped = false;
      else if (letter === '\\') this.#escaped = true;
      else if (letter === '"') this.inString = false;
    } else if (letter === '"') this.inString = true;
    else if ('{['.includes(letter)) this.depth++;
    else if ('}]'.includes(letter)) this.depth--;
  }
}

/** The parts of a call read so far. */
export interface ReadCall {
  /** The name, once certain. */
  readonly name?: string;
  readonly id?: string;
  /** More of the arguments. */
  readonly json: string;
}

/** Names for the member with the arguments. */
const argumentNames: readonly string[] = ['arguments', 'parameters', 'args'];

export class CallObjectReader {
  readonly #scan = new ValueScan();
  /** The current member: its key, then its value. */
  #key: string | undefined;
  #isArguments = false;
  #text = '';
  #name: string | undefined;
  #id: string | undefined;
  /** Arguments before the name is known. */
  #held = '';
  #hasArguments = false;
  ended = false;
  /** Whether the text is not an object. */
  failed = false;

  /** Takes letters of the text; returns how many, including the object's last. */
  read(text: string): { readonly taken: number; readonly call: ReadCall } {
    const before = this.#name;
    let json = '';
    let taken = 0;
    while (taken < text.length && !this.ended && !this.failed) json += this.#letter(text[taken++]);
    if (this.ended && !this.#hasArguments) json = '{}';
    if (this.#name === undefined) {
      this.#held += json;
      if (this.ended) this.failed = true;
      return { taken, call: { json: '' } };
    }
    if (before !== undefined) return { taken, call: { json } };
    return { taken, call: { name: this.#name, id: this.#id, json: this.#held + json } };
  }

  /** Takes a letter; returns its addition to the arguments. */
  #letter(letter: string): string {
    const { depth, inString } = this.#scan;
    const isBlank = !inString && /\s/.test(letter);
    if (depth === 0) {
      if (letter !== '{') this.failed ||= !isBlank;
      else this.#scan.next(letter);
      return '';
    }
    if (depth === 1 && !inString && (letter === ',' || letter === '}')) {
      const json = this.#member();
      this.ended = letter === '}';
      return json;
    }
    if (depth === 1 && !inString && letter === ':' && this.#key === undefined) {
      this.#key = plainText(this.#text.trim());
      this.#isArguments = argumentNames.includes(this.#key);
      this.#text = '';
      return '';
    }
    this.#scan.next(letter);
    // Objects are returned letter by letter; anything else once complete.
    if (this.#isArguments && (this.#scan.depth > 1 || depth > 1) && this.#text.trim() === '') {
      this.#hasArguments = true;
      return letter;
    }
    this.#text += letter;
    return '';
  }

  /** Ends a member. */
  #member(): string {
    const [key, value, isArguments] = [this.#key, this.#text.trim(), this.#isArguments];
    [this.#key, this.#text, this.#isArguments] = [undefined, '', false];
    if (value === '') return '';
    if (key === 'name') this.#name ??= plainText(value);
    else if (key === 'id') this.#id ??= plainText(value);
    else if (isArguments && !this.#hasArguments) {
      this.#hasArguments = true;
      return encodedObject(value);
    }
    return '';
  }
}

/** A JSON string as its text; anything else unchanged. */
function plainText(json: string): string {
  const value = jsonIn(json);
  return typeof value === 'string' ? value : json;
}

/** Arguments that are not an object: an object inside a string, or none. */
function encodedObject(value: string): string {
  const text = plainText(value);
  return isJsonObject(jsonIn(text)) ? text : '{}';
}
