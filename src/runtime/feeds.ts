/** Checks what a run is given against what the graph expects, so that mistakes are named before the engine sees them. */
import { LinnetError } from '../errors.ts';
import type { ValueType } from '../graph/graph.ts';
import { formatShape } from '../graph/shape.ts';
import { elementCount, type Tensor } from '../graph/tensor.ts';
import type { NamedTensors } from './session-types.ts';
import { evaluateDim } from './named-dimensions.ts';

/** The inputs of a program. */
export interface InputSignature {
  readonly graph: string;
  /** Inputs that the outputs depend on: each must be fed. */
  readonly live: ReadonlyMap<string, ValueType>;
  /** Inputs that the graph declares but no output depends on: they may be fed, and are ignored. */
  readonly unused: ReadonlySet<string>;
}

/**
 * The feeds that the engine needs.
 *
 * @throws LinnetError `RUNTIME` if an input is missing, unknown, or of another dtype or shape than declared. A named
 *   dimension must have one size in all feeds of a run.
 */
export function checkFeeds(signature: InputSignature, feeds: NamedTensors): Record<string, Tensor> {
  const { graph, live, unused } = signature;
  for (const name of Object.keys(feeds)) {
    if (!live.has(name) && !unused.has(name)) {
      throw new LinnetError('RUNTIME', `graph "${graph}" has no input "${name}"; its inputs are ${quoteKeys(live)}`);
    }
  }
  const sizes = new Map<string, NamedSize>();
  const sums: { name: string; dim: string; size: number }[] = [];
  const checked: Record<string, Tensor> = {};
  for (const [name, type] of live) {
    const feed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
    if (feed === undefined) {
      throw new LinnetError(
        'RUNTIME',
        `graph "${graph}" needs input "${name}" (${type.dtype}${formatShape(type.shape)})`,
      );
    }
    const refuse = (reason: string): never => {
      throw new LinnetError(
        'RUNTIME',
        `input "${name}" of graph "${graph}" is ${feed.dtype}${formatShape(feed.shape)}, ` +
          `expected ${type.dtype}${formatShape(type.shape)}${reason}`,
      );
    };
    if (feed.dtype !== type.dtype || feed.shape.length !== type.shape.length) refuse('');
    if (feed.data.length !== elementCount(feed.shape)) refuse(`, and its data has ${feed.data.length} elements`);
    type.shape.forEach((dim, axis) => {
      const size = feed.shape[axis];
      if (typeof dim === 'number') {
        if (dim !== size) refuse('');
        return;
      }
      const known = sizes.get(dim);
      if (known === undefined) {
        sizes.set(dim, { size, input: name });
        sums.push({ name, dim, size });
      } else if (known.size !== size) {
        refuse(`: "${dim}" is ${known.size} in input "${known.input}"`);
      }
    });
    checked[name] = feed;
  }
  for (const { name, dim, size } of sums) {
    const expected = evaluateDim(dim, (part) => sizes.get(part)?.size);
    if (expected !== undefined && expected !== size) {
      throw new LinnetError(
        'RUNTIME',
        `input "${name}" of graph "${graph}" has ${size} along "${dim}", which is ${expected} by the other inputs`,
      );
    }
  }
  return checked;
}

interface NamedSize {
  readonly size: number;
  /** The input that said so first. */
  readonly input: string;
}

/** Names in quotes, for messages. */
export function quoteKeys(names: ReadonlyMap<string, unknown>): string {
  return names.size === 0 ? 'none' : [...names.keys()].map((name) => `"${name}"`).join(', ');
}
