/**
 * Position encoding of a backbone. A family states which values it reads; they are constants of the
 * graph over whole sequences and inputs of the step graph, where every node has its own position.
 */
import { LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { type DType, type Tensor, tensor } from '../graph/tensor.ts';

/** Element type and shape of a positional value, after the axes [B,T]. */
export interface PositionValueType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Positional values of a graph by name, each [B,T,...]. */
export type PositionValues = Readonly<Record<string, Value>>;

/** How positions reach a backbone. */
export interface PositionEncoding {
  /** The values that the backbone reads, by the names of the step graph's inputs. */
  readonly values: Readonly<Record<string, PositionValueType>>;
  /** Positions from this one on have no encoding; Infinity where there is no end. */
  readonly limit: number;
  /**
   * The values of given positions, each [batch,length,...].
   *
   * @param positions batch·length positions in row-major order
   * @throws LinnetError `INPUT` for a position at the limit or beyond
   */
  at(positions: ArrayLike<number>, batch: number, length: number): Record<string, Tensor>;
}

/** For backbones that do not know positions. */
export const noPositions: PositionEncoding = { values: {}, limit: Number.POSITIVE_INFINITY, at: () => ({}) };

/** Positions as rows of a learned table: the value `positions`, int32 [B,T]. */
export class LearnedPositions implements PositionEncoding {
  readonly values = { positions: { dtype: 'int32', shape: [] } } as const;
  readonly limit: number;

  /** @param limit rows of the table */
  constructor(limit: number) {
    this.limit = limit;
  }

  at(positions: ArrayLike<number>, batch: number, length: number): { positions: Tensor } {
    const indices = Int32Array.from({ length: batch * length }, (_, i) => this.#checked(positions[i]));
    return { positions: tensor('int32', [batch, length], indices) };
  }

  #checked(position: number): number {
    if (position < this.limit) return position;
    throw new LinnetError(
      'INPUT',
      `position ${position} is beyond the model's learned positions 0 to ${this.limit - 1}; ` +
        `give at most ${this.limit} tokens, prompt and continuation together`,
    );
  }
}

/** Declares the values of an encoding as graph inputs [B,T,...] with named dimensions. */
export function declarePositions(encoding: PositionEncoding, graph: Graph): PositionValues {
  return Object.fromEntries(
    Object.entries(encoding.values).map(([name, { dtype, shape }]) => [
      name,
      graph.input(name, dtype, ['B', 'T', ...shape]),
    ]),
  );
}
