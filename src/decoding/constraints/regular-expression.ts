/** Regular expressions of JSON schemas as patterns of JSON strings: the strings they match, with JSON escapes. */
import { LinnetError } from '../../errors.ts';
import {
  type CodePoints,
  type Pattern,
  allBut,
  anyOf,
  character,
  common,
  exactText,
  nothing,
  plainCharacters,
  repeat,
  sequence,
  spans,
} from './pattern.ts';

const named: Readonly<Record<string, readonly CodePoints[]>> = {
  d: spans('09'),
  w: spans('09', 'AZ', '__', 'az'),
  s: spans('\t\r', '  ', '\xa0\xa0', '\u2028\u2029'),
};
const letters: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', 0: '\0' };
const lineEnds = spans('\n\n', '\r\r', '\u2028\u2029');
const mostRepeats = 1000;

/** Any of some characters, inside a JSON string. */
function inString(ranges: readonly CodePoints[]): Pattern {
  const escaped = [...Array.from({ length: 32 }, (_, code) => code), 0x22, 0x5c]
    .filter((code) => ranges.some(([first, last]) => first <= code && code <= last))
    .map((code) => exactText(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
  return anyOf(character(...common(ranges, plainCharacters)), ...escaped);
}

/**
 * The strings, in quotes, that a regular expression matches somewhere, or as a whole between `^` and `$`.
 * @throws LinnetError `INPUT` for one that is malformed or beyond groups, classes, alternatives and repetitions
 */
export function matchingString(expression: string): Pattern {
  const parser = new Parser(expression);
  const { body, atStart, atEnd } = parser.whole();
  const anything = repeat(inString([[0, 0x10ffff]]), 0, Infinity);
  return sequence(exactText('"'), atStart ? nothing : anything, body, atEnd ? nothing : anything, exactText('"'));
}

class Parser {
  readonly #letters: readonly string[];
  readonly #expression: string;
  #at = 0;
  #depth = 0;

  constructor(expression: string) {
    this.#expression = expression;
    this.#letters = [...expression];
  }

  whole(): { body: Pattern; atStart: boolean; atEnd: boolean } {
    const atStart = this.#take('^');
    const body = this.#alternatives();
    const atEnd = this.#take('$');
    if (this.#at < this.#letters.length) throw this.#wrong(`"${this.#letters[this.#at]}" is not supported there`);
    // ^a|b$ anchors each alternative on one side only.
    const several = body.kind === 'choice' && (atStart || atEnd) && this.#topAlternatives;
    if (several) throw this.#wrong('anchors go around all alternatives: ^(a|b)$');
    return { body, atStart, atEnd };
  }

  #topAlternatives = false;

  #alternatives(): Pattern {
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    if (this.#depth === 0) this.#topAlternatives = options.length > 1;
    return anyOf(...options);
  }

  #sequence(): Pattern {
    const parts: Pattern[] = [];
    for (;;) {
      const next = this.#letters.at(this.#at);
      if (next === undefined || this.#at >= this.#letters.length || next === '|' || next === ')' || next === '$') break;
      parts.push(this.#repeated(this.#atom()));
    }
    return sequence(...parts);
  }

  #atom(): Pattern {
    const letter = this.#next();
    if (letter === '(') return this.#group();
    if (letter === '[') return inString(this.#class());
    if (letter === '.') return inString(allBut(lineEnds));
    if (letter === '\\') return inString(this.#escape());
    if ('^*+?{}'.includes(letter)) throw this.#wrong(`"${letter}" is not supported there`);
    return inString([codeOf(letter)]);
  }

  #group(): Pattern {
    if (this.#take('?') && !this.#take(':')) throw this.#wrong('only groups ( ) and (?: ) are supported');
    if (++this.#depth > 32) throw this.#wrong('groups are nested too deeply');
    const body = this.#alternatives();
    this.#depth--;
    if (!this.#take(')')) throw this.#wrong('a group is not closed');
    return body;
  }

  #repeated(part: Pattern): Pattern {
    const bounds = this.#bounds();
    if (bounds === undefined) return part;
    this.#take('?'); // lazy or not, the same texts match
    const [least, most] = bounds;
    if (least > most || least > mostRepeats || (most !== Infinity && most > mostRepeats)) {
      throw this.#wrong(`repetitions go from 0 to ${mostRepeats}`);
    }
    return repeat(part, least, most);
  }

  #bounds(): readonly [number, number] | undefined {
    if (this.#take('*')) return [0, Infinity];
    if (this.#take('+')) return [1, Infinity];
    if (this.#take('?')) return [0, 1];
    if (!this.#take('{')) return undefined;
    const end = this.#letters.indexOf('}', this.#at);
    const bounds = /^(\d{1,5})(,(\d{0,5}))?$/.exec(this.#letters.slice(this.#at, Math.max(end, this.#at)).join(''));
    if (bounds === null) throw this.#wrong('a repetition is {n}, {n,} or {n,m}');
    this.#at = end + 1;
    const least = Number(bounds[1]);
    if (bounds[2] === undefined) return [least, least];
    return [least, bounds[3] === '' ? Infinity : Number(bounds[3])];
  }

  #class(): CodePoints[] {
    const negated = this.#take('^');
    const ranges: CodePoints[] = [];
    while (!this.#take(']')) {
      const first = this.#classPart();
      const [single] = first;
      const isRange = this.#letters[this.#at] === '-' && this.#letters[this.#at + 1] !== ']';
      if (!isRange) {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      const [last] = this.#classPart();
      if (single === undefined || last === undefined || single[0] > last[0])
        throw this.#wrong('a range goes backwards');
      ranges.push([single[0], last[0]]);
    }
    return negated ? allBut(ranges) : ranges;
  }

  #classPart(): readonly CodePoints[] {
    const letter = this.#next();
    return letter === '\\' ? this.#escape() : [codeOf(letter)];
  }

  #escape(): readonly CodePoints[] {
    const letter = this.#next();
    if (Object.hasOwn(named, letter)) return named[letter];
    if (Object.hasOwn(named, letter.toLowerCase())) return allBut(named[letter.toLowerCase()]);
    if (Object.hasOwn(letters, letter)) return [codeOf(letters[letter])];
    if (letter === 'u' || letter === 'x') {
      const length = letter === 'u' ? 4 : 2;
      const digits = this.#letters.slice(this.#at, this.#at + length).join('');
      if (!/^[0-9a-f]+$/i.test(digits) || digits.length !== length) throw this.#wrong('an escape is cut short');
      this.#at += length;
      const code = parseInt(digits, 16);
      return [[code, code]];
    }
    if (/[A-Za-z0-9]/.test(letter)) throw this.#wrong(`"\\${letter}" is not supported`);
    return [codeOf(letter)];
  }

  #take(letter: string): boolean {
    if (this.#letters[this.#at] !== letter) return false;
    this.#at++;
    return true;
  }

  #next(): string {
    if (this.#at >= this.#letters.length) throw this.#wrong('it ends too early');
    return this.#letters[this.#at++];
  }

  #wrong(reason: string): LinnetError {
    return new LinnetError('INPUT', `the pattern "${this.#expression.slice(0, 100)}" cannot be used: ${reason}`);
  }
}

function codeOf(letter: string): CodePoints {
  const code = letter.codePointAt(0) ?? 0;
  return [code, code];
}
