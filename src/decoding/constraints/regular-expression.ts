/** JSON schemas' regular expressions as patterns of JSON strings: the strings they match, with JSON escapes. */
import { type AST, RegExpParser } from '@eslint-community/regexpp';
import { LinnetError, reasonOf } from '../../errors.ts';
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

const sets = {
  any: allBut(spans('\n\n', '\r\r', '\u2028\u2029')),
  digit: spans('09'),
  word: spans('09', 'AZ', '__', 'az'),
  space: spans('\t\r', '  ', '\xa0\xa0', '\u2028\u2029'),
};
const mostRepeats = 1000;
const deepest = 32;

const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,28}[a-zA-Z0-9])?';
const seconds = '\\d+([.,]\\d+)?S';
const hours = `T(\\d+H(\\d+M)?(${seconds})?|\\d+M(${seconds})?|${seconds})`;

/** zod's expressions that look ahead, without that: durations, and host names of at most 8 labels of 30 letters. */
const withoutLookahead: ReadonlyMap<string, string> = new Map([
  [
    '^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$',
    `^P(\\d+W|(\\d+Y(\\d+M)?(\\d+D)?|\\d+M(\\d+D)?|\\d+D)(${hours})?|${hours})$`,
  ],
  [
    '^(?=.{1,253}\\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\\.?$',
    `^${label}(\\.${label}){0,7}\\.?$`,
  ],
]);

/** Any of these characters, inside a JSON string. */
function inString(ranges: readonly CodePoints[]): Pattern {
  const escaped = [...Array.from({ length: 32 }, (_, code) => code), 0x22, 0x5c]
    .filter((code) => ranges.some(([first, last]) => first <= code && code <= last))
    .map((code) => exactText(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
  return anyOf(character(...common(ranges, plainCharacters)), ...escaped);
}

/**
 * The quoted strings that contain a match of a regular expression, or match it whole between `^` and `$`.
 * @throws LinnetError `INPUT` for an expression that is malformed or uses more than groups, classes, alternatives and
 *   repetitions
 */
export function matchingString(expression: string): Pattern {
  const wrong = (reason: string): LinnetError =>
    new LinnetError('INPUT', `the pattern "${expression.slice(0, 100)}" cannot be used: ${reason}`);
  const alternatives = parsed(withoutLookahead.get(expression) ?? expression, wrong);
  const isAnchor = (node: AST.Element | undefined, kind: string): boolean =>
    node?.type === 'Assertion' && node.kind === kind;

  const choice = (options: readonly AST.Alternative[], depth: number): Pattern => {
    if (depth > deepest) throw wrong('groups are nested too deeply');
    return anyOf(...options.map(({ elements }) => sequence(...elements.map((node) => patternOf(node, depth)))));
  };
  const patternOf = (node: AST.Element, depth: number): Pattern => {
    if (node.type === 'Group' || node.type === 'CapturingGroup') return choice(node.alternatives, depth + 1);
    if (node.type !== 'Quantifier') return inString(rangesOf(node));
    const { element, min, max } = node;
    const most = max === Infinity ? min : max;
    if (most > mostRepeats) throw wrong(`repetitions go from 0 to ${mostRepeats}`);
    return repeat(patternOf(element, depth), min, max);
  };
  const rangesOf = (node: AST.Element | AST.CharacterClassElement): readonly CodePoints[] => {
    if (node.type === 'Character') return [[node.value, node.value]];
    if (node.type === 'CharacterClassRange') return [[node.min.value, node.max.value]];
    if (node.type === 'CharacterClass') {
      const ranges = node.elements.flatMap(rangesOf);
      return node.negate ? allBut(ranges) : ranges;
    }
    if (node.type !== 'CharacterSet' || node.kind === 'property')
      throw wrong(`"${node.raw}" is not supported; use groups, classes, alternatives and repetitions`);
    return node.kind !== 'any' && node.negate ? allBut(sets[node.kind]) : sets[node.kind];
  };

  const anything = repeat(inString([[0, 0x10ffff]]), 0, Infinity);
  const quote = exactText('"');
  // ^a|b$ anchors each alternative on one side only.
  const wholes = alternatives.map(({ elements }) => {
    const [start, end] = [isAnchor(elements[0], 'start'), isAnchor(elements.at(-1), 'end')];
    const parts = elements.slice(start ? 1 : 0, end ? -1 : undefined).map((node) => patternOf(node, 0));
    return sequence(start ? nothing : anything, ...parts, end ? nothing : anything);
  });
  return sequence(quote, anyOf(...wholes), quote);
}

/** Parses with Unicode's syntax, which reads whole characters and rejects `]` outside classes and needless escapes. */
function parsed(expression: string, wrong: (reason: string) => LinnetError): readonly AST.Alternative[] {
  let isClass = false;
  const strict = expression.replace(/\\(?:([^A-Za-z0-9^$\\.*+?()[\]{}|/])|.)|[[\]]/gsu, (text, sign?: string) => {
    if (sign !== undefined) return `\\u{${(sign.codePointAt(0) ?? 0).toString(16)}}`;
    const isLone = text === ']' && !isClass;
    if (text.length === 1) isClass = text === '[';
    return isLone ? '\\]' : text;
  });
  try {
    const parser = new RegExpParser({ ecmaVersion: 2024 });
    return parser.parsePattern(strict, 0, strict.length, { unicode: true }).alternatives;
  } catch (error) {
    // The message repeats the expression.
    throw wrong(reasonOf(error).replace(/^.*: /s, ''));
  }
}
