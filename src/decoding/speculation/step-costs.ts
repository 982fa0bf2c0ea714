/** Cost of a step, measured while serving: by rows, and by nodes of its largest tree, to which all rows are padded. */

/** Weight of the past in running means. */
const memory = 0.9;
/** Samples from which a mean counts. */
const enough = 3;
/**
 * How far above its mean a step may be before it is taken for the machine's doing: a compilation, a collection of garbage.
 * `enough` of them in a row mean that such steps are slower now, as where a cache has grown.
 */
const outlier = 8;

interface Cell {
  readonly rows: number;
  readonly nodes: number;
  seconds: number;
  weight: number;
  /** −1 at first: the first step of a kind pays for memory. */
  count: number;
  /** Outliers since the last step that was none. */
  outliers: number;
}

/** Nodes of trees are counted in powers of two; 0 is a root that the drafter was asked for more than. */
export function nodeBucket(nodes: number): number {
  return nodes < 1 ? 0 : 2 ** Math.ceil(Math.log2(nodes));
}

export class StepCosts {
  readonly #cells = new Map<string, Cell>();

  /** Records the seconds of a step by its rows and the nodes of its largest tree. */
  record(rows: number, nodes: number, seconds: number): void {
    const bucket = nodeBucket(nodes);
    const name = `${rows} ${bucket}`;
    const cell = this.#cells.get(name) ?? { rows, nodes: bucket, seconds: Infinity, weight: 1, count: -1, outliers: 0 };
    this.#cells.set(name, cell);
    const isOutlier = cell.count >= enough && seconds > outlier * (cell.seconds / cell.weight);
    if (isOutlier && ++cell.outliers < enough) return;
    cell.outliers = 0;
    if (cell.count++ < enough) {
      // Of the first ones the fastest: others were held up.
      if (cell.count > 0) cell.seconds = Math.min(cell.seconds, seconds);
      return;
    }
    cell.seconds = memory * cell.seconds + seconds;
    cell.weight = memory * cell.weight + 1;
  }

  /** Whether such a step was measured often enough. */
  knows(rows: number, nodes: number): boolean {
    return (this.#cells.get(`${rows} ${nodeBucket(nodes)}`)?.count ?? 0) >= enough;
  }

  /** Seconds of such a step: measured, or from a line fitted to the measured steps; undefined with too few of them. */
  seconds(rows: number, nodes: number): number | undefined {
    const bucket = nodeBucket(nodes);
    const cell = this.#cells.get(`${rows} ${bucket}`);
    if (cell !== undefined && cell.count >= enough) return cell.seconds / cell.weight;
    return this.#line(rows * Math.max(1, bucket));
  }

  /** Least squares over rows × nodes, neither falling nor negative. */
  #line(x: number): number | undefined {
    const known = [...this.#cells.values()].filter(({ count }) => count >= enough);
    if (new Set(known.map(({ rows, nodes }) => rows * Math.max(1, nodes))).size < 2) return undefined;
    const points = known.map(({ rows, nodes, seconds, weight }) => ({
      x: rows * Math.max(1, nodes),
      y: seconds / weight,
    }));
    const meanX = points.reduce((sum, point) => sum + point.x, 0) / points.length;
    const meanY = points.reduce((sum, point) => sum + point.y, 0) / points.length;
    const covariance = points.reduce((sum, point) => sum + (point.x - meanX) * (point.y - meanY), 0);
    const variance = points.reduce((sum, point) => sum + (point.x - meanX) ** 2, 0);
    const slope = Math.max(0, covariance / variance);
    const least = Math.min(...points.map(({ y }) => y));
    return Math.max(least, meanY + slope * (x - meanX));
  }
}
