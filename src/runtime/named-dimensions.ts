/** Sizes of named dimensions that are sums and products of others, such as "R+T" or "(R+T)*2". */

/**
 * The size that the parts of a dimension's name give it, or undefined if the size of a part is not known or the name is
 * not written as a sum or product (`graph/shape` writes them).
 *
 * @param sizeOf the size of a plain name
 */
export function evaluateDim(dim: string, sizeOf: (name: string) => number | undefined): number | undefined {
  const terms = splitOutside(dim, '+');
  if (terms.length > 1) return combine(terms, sizeOf, 0, (a, b) => a + b);
  const factors = splitOutside(dim, '*');
  if (factors.length > 1) return combine(factors, sizeOf, 1, (a, b) => a * b);
  if (dim.startsWith('(') && dim.endsWith(')')) return evaluateDim(dim.slice(1, -1), sizeOf);
  return /^\d+$/.test(dim) ? Number(dim) : sizeOf(dim);
}

function combine(
  parts: readonly string[],
  sizeOf: (name: string) => number | undefined,
  neutral: number,
  join: (a: number, b: number) => number,
): number | undefined {
  let result = neutral;
  for (const part of parts) {
    const size = evaluateDim(part, sizeOf);
    if (size === undefined) return undefined;
    result = join(result, size);
  }
  return result;
}

/** Splits at a sign that is outside of parentheses. */
function splitOutside(text: string, sign: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === '(') depth++;
    else if (character === ')') depth--;
    else if (character === sign && depth === 0) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}
