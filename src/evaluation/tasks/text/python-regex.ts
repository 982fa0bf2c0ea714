/**
 * Regular expressions as Python's `re` reads them. The dialects differ in how `.`, `$`, `\s`, `\w`, `\d` and `\b` match and
 * in how groups are named; the rest is the same.
 */
import { LinnetError } from '../../../errors.ts';
import { pythonSpace } from '../../../tokenizer/python-text.ts';

const word = '\\p{L}\\p{N}_';

/** Escapes outside and inside brackets. */
const escapes: Readonly<Record<string, { readonly outside: string; readonly inside?: string }>> = {
  s: { outside: `[${pythonSpace}]`, inside: pythonSpace },
  S: { outside: `[^${pythonSpace}]` },
  w: { outside: `[${word}]`, inside: word },
  W: { outside: `[^${word}]` },
  d: { outside: '\\p{Nd}', inside: '\\p{Nd}' },
  D: { outside: '\\P{Nd}', inside: '\\P{Nd}' },
  b: { outside: `(?:(?<=[${word}])(?![${word}])|(?<![${word}])(?=[${word}]))`, inside: '\\x08' },
  B: { outside: `(?:(?<=[${word}])(?=[${word}])|(?<![${word}])(?![${word}]))` },
  A: { outside: '(?<![^])' },
  Z: { outside: '(?![^])' },
  a: { outside: '\\x07', inside: '\\x07' },
};

/** Escapes common to both dialects. */
const shared = /^[nrtfv0-9]$/;
/** Characters that may be escaped when JavaScript reads Unicode. */
const syntax = /^[\^$\\.*+?()[\]{}|/]$/;

/** Replacements for parts of a pattern, outside brackets, that read differently. */
const bare: Readonly<Record<string, string>> = {
  '.': '[^\\n]',
  $: '(?=\\n?(?![^]))',
  ']': '\\]',
};

/**
 * Compiles a pattern.
 * @param flags JavaScript's, added to `u`: `g`, `i`
 * @throws LinnetError `CONFIG` for an invalid pattern
 */
export function pythonRegex(pattern: string, flags = ''): RegExp {
  try {
    return new RegExp(translated(pattern), `u${flags}`);
  } catch (cause) {
    throw new LinnetError('CONFIG', `the regular expression ${JSON.stringify(pattern)} cannot be read`, { cause });
  }
}

/** `re.findall`: each match as its groups' texts, or as the whole if there are none. */
export function findAll(expression: RegExp, text: string): string[][] {
  return Array.from(text.matchAll(expression), (match) =>
    match.length === 1 ? [match[0]] : match.slice(1).map((group: string | undefined) => group ?? ''),
  );
}

function translated(pattern: string): string {
  let result = '';
  let inside = false;
  for (let at = 0; at < pattern.length; ) {
    const symbol = String.fromCodePoint(pattern.codePointAt(at) ?? 0);
    const rest = pattern.slice(at);
    const quantifier = inside ? null : /^\{\d*(?:,\d*)?\}/.exec(rest);
    if (symbol === '\\') {
      const escaped = String.fromCodePoint(pattern.codePointAt(at + 1) ?? 0x5c);
      result += escape(escaped, inside);
      at += 1 + escaped.length;
    } else if (quantifier !== null && quantifier[0] !== '{}' && quantifier[0] !== '{,}') {
      result += quantifier[0].replace('{,', '{0,');
      at += quantifier[0].length;
    } else if (!inside && rest.startsWith('(?P')) {
      result += rest.startsWith('(?P=') ? `\\k<${/^\(\?P=(\w+)\)/.exec(rest)?.[1] ?? ''}>` : '(?';
      at += rest.startsWith('(?P=') ? rest.indexOf(')') + 1 : 3;
    } else {
      if (symbol === '[' && !inside) {
        inside = true;
        const open = /^\[\^?\]?/.exec(rest)?.[0] ?? '[';
        result += open.endsWith(']') ? `${open.slice(0, -1)}\\]` : open;
        at += open.length;
        continue;
      }
      if (symbol === ']' && inside) {
        inside = false;
        result += ']';
      } else if (inside) result += /^[[(){}|/]$/.test(symbol) ? `\\${symbol}` : symbol;
      else result += symbol === '{' || symbol === '}' ? `\\${symbol}` : (bare[symbol] ?? symbol);
      at += symbol.length;
    }
  }
  return result;
}

function escape(symbol: string, inside: boolean): string {
  const known = Object.hasOwn(escapes, symbol) ? escapes[symbol] : undefined;
  const form = inside ? known?.inside : known?.outside;
  if (form !== undefined) return form;
  if (shared.test(symbol) || syntax.test(symbol)) return `\\${symbol}`;
  if (symbol === 'x' || symbol === 'u') return `\\${symbol}`;
  if (symbol === '-' && inside) return '\\-';
  if (/[\p{L}]/u.test(symbol)) throw new LinnetError('CONFIG', `the escape \\${symbol} is not supported`);
  return symbol;
}
