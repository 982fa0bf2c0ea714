/** Checks feeds against the graph's inputs, so that mistakes are named before the engine sees them. */
import { LinnetError } from '../errors.ts';
import type { ValueType } from '../graph/graph.ts';
import { type Dim, type Tensor, elementCount, formatShape, splitTerms } from '../graph/tensor.ts';
import type { NamedTensors } from './session-types.ts';

/** The inputs of a program. */
export interface InputSignature {
  readonly graph: string;
  /** Inputs that the outputs depend on: each must be fed. */
  readonly live: ReadonlyMap<string, ValueType>;
  /** Inputs that the graph declares but no output depends on: they may be fed, and are ignored. */
  readonly unused: ReadonlySet<string>;
}

/** Gives the feeds that the engine needs. */
export type FeedCheck = (feeds: NamedTensors) => NamedTensors;

/**
 * The check of the feeds of all runs. It throws a LinnetError `RUNTIME` if an input is missing, unknown, or of another dtype or
 * shape than declared. A named dimension must have one size in all feeds of a run.
 */
export function feedCheck(signature: InputSignature): FeedCheck {
  const { graph, live, unused } = signature;
  const inputs = [...live];
  const compounds = inputs.flatMap(([name, { shape }]) =>
    shape.flatMap((dim) => (typeof dim === 'string' && /[+*]/.test(dim) ? { name, dim, parts: partsOf(dim) } : [])),
  );
  const requireKnown = (feeds: NamedTensors): void => {
    const unknown = Object.keys(feeds).find((name) => !live.has(name) && !unused.has(name));
    if (unknown === undefined) return;
    throw new LinnetError('RUNTIME', `graph "${graph}" has no input "${unknown}"; its inputs are ${quoteKeys(live)}`);
  };
  return (feeds) => {
    const sizes = new Map<Dim, number>();
    for (const [name, type] of inputs) {
      const feed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
      if (feed !== undefined && fits(feed, type, sizes)) continue;
      requireKnown(feeds);
      throw feed === undefined
        ? new LinnetError('RUNTIME', `graph "${graph}" needs input "${name}" (${type.dtype}${formatShape(type.shape)})`)
        : misfit(signature, name, feed, sizes);
    }
    for (const { name, dim, parts } of compounds) {
      const [size, expected] = [sizes.get(dim), sizeOf(parts, sizes)];
      if (expected === undefined || expected === size) continue;
      throw new LinnetError(
        'RUNTIME',
        `input "${name}" of graph "${graph}" has ${size} along "${dim}", which is ${expected} by the other inputs`,
      );
    }
    if (Object.keys(feeds).length === inputs.length) return feeds;
    requireKnown(feeds);
    return Object.fromEntries(inputs.map(([name]) => [name, feeds[name]]));
  };
}

/** A size, a name, or the sum or product of others. */
type DimParts = number | string | { readonly sign: '+' | '*'; readonly parts: readonly DimParts[] };

/** Reads a dimension such as "R+T" or "(R+T)*2" (`graph/shape` writes them) once, for all runs. */
function partsOf(dim: string): DimParts {
  for (const sign of ['+', '*'] as const) {
    const parts = splitTerms(dim, sign);
    if (parts.length > 1) return { sign, parts: parts.map(partsOf) };
  }
  if (dim.startsWith('(') && dim.endsWith(')')) return partsOf(dim.slice(1, -1));
  return /^\d+$/.test(dim) ? Number(dim) : dim;
}

/** The size of a dimension by those of names; undefined where one is not known. */
function sizeOf(dim: DimParts, sizes: ReadonlyMap<Dim, number>): number | undefined {
  if (typeof dim === 'number') return dim;
  if (typeof dim === 'string') return sizes.get(dim);
  let result = dim.sign === '+' ? 0 : 1;
  for (const part of dim.parts) {
    const size = sizeOf(part, sizes);
    if (size === undefined) return undefined;
    result = dim.sign === '+' ? result + size : result * size;
  }
  return result;
}

/** Whether a feed has the type of its input. @param sizes of names, to which those are added that are not in it */
function fits({ dtype, shape, data }: Tensor, type: ValueType, sizes: Map<Dim, number>): boolean {
  if (dtype !== type.dtype || shape.length !== type.shape.length || data.length !== elementCount(shape)) return false;
  for (let axis = 0; axis < shape.length; axis++) {
    const dim = type.shape[axis];
    const expected = typeof dim === 'number' ? dim : sizes.get(dim);
    if (expected === undefined) sizes.set(dim, shape[axis]);
    else if (expected !== shape[axis]) return false;
  }
  return true;
}

/** Why a feed is not of the type of its input. @param sizes as `fits` left them */
function misfit(
  { graph, live }: InputSignature,
  name: string,
  feed: Tensor,
  sizes: ReadonlyMap<Dim, number>,
): LinnetError {
  const { dtype, shape, data } = feed;
  const type = live.get(name) ?? feed;
  let reason = '';
  if (dtype === type.dtype && shape.length === type.shape.length) {
    const expected = type.shape.map((dim) => (typeof dim === 'number' ? dim : sizes.get(dim)));
    const dim = type.shape[expected.findIndex((size, axis) => size !== shape[axis])];
    if (data.length !== elementCount(shape)) reason = `, and its data has ${data.length} elements`;
    else if (typeof dim === 'string') {
      const [first = name] = [...live.keys()].filter((input) => live.get(input)?.shape.includes(dim));
      reason = `: "${dim}" is ${sizes.get(dim)} in input "${first}"`;
    }
  }
  return new LinnetError(
    'RUNTIME',
    `input "${name}" of graph "${graph}" is ${dtype}${formatShape(shape)}, ` +
      `expected ${type.dtype}${formatShape(type.shape)}${reason}`,
  );
}

/** Names in quotes, for messages. */
export function quoteKeys(names: ReadonlyMap<string, unknown>): string {
  return names.size === 0 ? 'none' : [...names.keys()].map((name) => `"${name}"`).join(', ');
}
