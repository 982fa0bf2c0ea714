/**
 * Shapes with static and named dimensions. A named dimension ("T") is known only when a graph runs; two named
 * dimensions are equal only if their names are. Sums and products of named dimensions are names again ("R+T"),
 * written in one canonical way so that equal expressions compare equal.
 */
import { LinnetError } from '../errors.ts';

/** A dimension: a size, or the name of one. */
export type Dim = number | string;
/** The dimensions of a tensor in a graph: numbers, and names where they are open. */
export type Shape = readonly Dim[];

/** "[2,T,64]". */
export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** The shape if every dimension is a number, else undefined. */
export function staticShape(shape: Shape): number[] | undefined {
  const sizes: number[] = [];
  for (const dim of shape) {
    if (typeof dim !== 'number') return undefined;
    sizes.push(dim);
  }
  return sizes;
}

/** The sum of dimensions; a name such as "R+T" where one of them is named. */
export function addDims(...dims: Dim[]): Dim {
  return combineDims(dims, '+', 0, (a, b) => a + b);
}

/** A dimension minus `count`; undefined where that may be negative. */
export function dimWithout(dim: Dim, count: number): Dim | undefined {
  const terms = typeof dim === 'number' ? [String(dim)] : splitTerms(dim, '+');
  const names = terms.filter((term) => !/^\d+$/.test(term));
  const size = addDims(...terms.filter((term) => /^\d+$/.test(term)).map(Number));
  return typeof size === 'number' && size >= count ? addDims(...names, size - count) : undefined;
}

/** The product of dimensions; a name such as "B*T" where one of them is named. */
export function multiplyDims(...dims: Dim[]): Dim {
  return combineDims(dims, '*', 1, (a, b) => a * b);
}

function combineDims(dims: Dim[], sign: '+' | '*', neutral: number, combine: (a: number, b: number) => number): Dim {
  let size = neutral;
  const names: string[] = [];
  for (const dim of dims) {
    for (const term of typeof dim === 'number' ? [String(dim)] : splitTerms(dim, sign)) {
      if (/^\d+$/.test(term)) size = combine(size, Number(term));
      else names.push(sign === '*' && splitTerms(term, '+').length > 1 ? `(${term})` : term);
    }
  }
  if (names.length === 0) return size;
  if (sign === '*' && size === 0) return 0;
  names.sort();
  return size === neutral ? names.join(sign) : [...names, size].join(sign);
}

/** Cuts an expression at a sign, but not inside parentheses. */
export function splitTerms(expression: string, sign: '+' | '*'): string[] {
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= expression.length; i++) {
    const character = expression[i];
    if (character === '(') depth++;
    else if (character === ')') depth--;
    else if (depth === 0 && (i === expression.length || character === sign)) {
      terms.push(expression.slice(start, i));
      start = i + 1;
    }
  }
  return terms;
}

/** The shape two operands broadcast to (NumPy rules). @throws LinnetError `SHAPE` naming the op and both shapes. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Dim[] {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left === right || right === 1) result.push(left);
    else if (left === 1) result.push(right);
    else
      throw shapeError(op, `shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast: ${left} against ${right}`);
  }
  return result;
}

/** An axis counted from the front; negative ones count from the back. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank) {
    throw shapeError(op, `axis ${axis} is outside a value of rank ${rank}`);
  }
  return resolved;
}

export function shapeError(op: string, message: string): LinnetError {
  return new LinnetError('SHAPE', `${op}: ${message}`);
}
