/**
 * The layout of the step form: B trees of T nodes, M key-value heads, R query heads for each of them (H = M·R). B, T and
 * rows may be named dimensions.
 */
import type { Value } from '../graph/graph.ts';
import { pad, reshape, slice, split, transpose } from '../graph/ops/layout.ts';
import { broadcastTo } from '../graph/ops/contraction.ts';
import { multiplyDims } from '../graph/tensor.ts';

/** Lays query heads out so that the R heads sharing keys form one matrix of R·T rows. */
export class HeadLayout {
  /** [B,M,R,T,D] */
  readonly queries: Value;
  readonly #repeat: number;
  readonly #keyValueHeads: number;
  /** Rows of zeros before a matrix's queries. */
  readonly #spare: number;

  /**
   * @param inCompany whether to avoid single-row matrices: without repeated heads, adds a row of zeros, which `split`
   *   removes. The runtime sums a single row in another order than several (docs/verify.md).
   */
  constructor(q: Value, keyValueHeads: number, inCompany = false) {
    const [B, T, H, D] = q.shape;
    this.#spare = inCompany && Number(H) === keyValueHeads ? 1 : 0;
    this.#keyValueHeads = keyValueHeads;
    this.#repeat = Number(H) / keyValueHeads;
    this.queries = reshape(transpose(q, [0, 2, 1, 3]), [B, keyValueHeads, this.#repeat, T, D]);
  }

  /** The queries as matrices [B,M,R·T,D]. */
  get joined(): Value {
    return this.join(this.queries);
  }

  /** Other queries [B,T,H,D] in the same layout. */
  of(q: Value): HeadLayout {
    return new HeadLayout(q, this.#keyValueHeads, this.#spare > 0);
  }

  /** [B,M,R,T,X] → [B,M,R·T,X], plus the layout's spare row, if any */
  join(x: Value): Value {
    const [B, M, R, T, X] = x.shape;
    return this.#padded(reshape(x, [B, M, multiplyDims(R, T), X]));
  }

  #padded(rows: Value): Value {
    return pad(rows, 2, this.#spare, 0);
  }

  /**
   * φ of the queries [B,M,R·T,F].
   * @param map from [B,H,T,D] to [B,H,T,F], or from [B,H,T,1,D] to [B,H,T,1,F]
   * @param oneByOne for a map that multiplies rows by their head's matrix: a row's bits then do not depend on the number of
   *   rows. Default false
   */
  mapped(map: (queries: Value) => Value, oneByOne = false): Value {
    const [B, M, R, T, D] = this.queries.shape;
    const width = oneByOne ? [1, D] : [D];
    const features = map(reshape(this.queries, [B, multiplyDims(M, R), T, ...width])); // head h = m*R + r
    return this.join(reshape(features, [B, M, R, T, features.shape[features.rank - 1]]));
  }

  /** [B,M,R·T,E] → [B,T,H,E] */
  split(x: Value): Value {
    if (this.#repeat === 1) return transpose(this.#spare === 0 ? x : slice(x, 2, this.#spare), [0, 2, 1, 3]);
    const [B, , , T] = this.queries.shape;
    const E = x.shape[3];
    const perHead = reshape(x, [B, this.#keyValueHeads, this.#repeat, T, E]);
    return reshape(transpose(perHead, [0, 3, 1, 2, 4]), [B, T, this.#keyValueHeads * this.#repeat, E]);
  }

  /** Repeats a mask [B,1,T,rows] for every query of a matrix: [B,1,R·T,rows]. */
  tile(mask: Value): Value {
    if (this.#repeat === 1) return this.#padded(mask);
    const [B, , T, rows] = mask.shape;
    return reshape(broadcastTo(mask, [B, this.#repeat, T, rows]), [B, 1, multiplyDims(this.#repeat, T), rows]);
  }

  /** Weights per query head of L layers [B,T,rows,L·H] → [B,M,R·T,rows] for each. Default: one layer. */
  perHead(weights: Value, layers = 1): readonly Value[] {
    const [B, T, rows] = weights.shape;
    const [M, R] = [this.#keyValueHeads, this.#repeat];
    const all = this.#padded(reshape(transpose(weights, [0, 3, 1, 2]), [B, layers * M, multiplyDims(R, T), rows]));
    return layers === 1 ? [all] : split(all, 1, new Array<number>(layers).fill(M));
  }

  /** Repeats values [B,M,T,E] for each query head: [B,M,R·T,E]. */
  repeat(values: Value): Value {
    const [B, M, T, E] = values.shape;
    return this.join(broadcastTo(reshape(values, [B, M, 1, T, E]), [B, M, this.#repeat, T, E]));
  }
}
