/**
 * Decides round by round whether to draft, by expected tokens per second: it depends on the model, the machine, and how
 * predictable the texts currently are. Measures a round's seconds by rows and nodes, and the tokens that drafts bring each
 * text. With few texts a machine has time for trees' nodes; many texts fill it with rows, and each row yields a token for
 * certain.
 *
 * With an exact acceptance rule, texts do not depend on it.
 */
import { requireCount } from '../../files/arguments.ts';

/** Sequential decoding, or drafts. */
export type Pace = 'sequential' | 'speculative';

/** Decides which of a text's rounds draft. */
export interface Pacing {
  /** The next round's pace; asked once per round. */
  readonly next: Pace;
  /** Records a round's time, its new tokens and the nodes run for it. */
  record(pace: Pace, seconds: number, tokens: number, nodes: number): void;
  /** See `DraftContext.rate`. */
  readonly rate?: (nodes: number, tokens: number) => number;
}

/** How often to try the slower pace. */
export interface PacingOptions {
  /** Measured rounds per trial of the slower pace. Default 6. */
  readonly trial?: number;
  /** Rounds from a decision to the first trial; doubled while the decision stays the same. Default 48. */
  readonly interval?: number;
  /** Largest number of rounds between trials. Default 768. */
  readonly longestInterval?: number;
}

/** Options for rounds of several texts, each with a short chance to show what its drafts bring. */
export const roundPacing: PacingOptions = { trial: 2, interval: 64, longestInterval: 128 };

/** The past's weight in running means. */
const memory = 0.9;
/** Weight, in rounds, of the mean over all texts for a text with few rounds of its own. */
const priorWeight = 2;

/** A node's cost as a share of a step, before any measurement. */
const assumedCost = 0.2;

/** Rounds for which a decision against drafts holds. */
const settledRounds = 16;

/** While a decision holds, every fourth round is measured. */
const measuredRound = 4;

/** How much faster drafts must be: a smaller gain may be noise. */
const worthwhile = 1.03;

/** Decaying means over drafted rounds: tokens, and tree sizes. */
class DraftHistory {
  /** Decaying sums. */
  weight = 0;
  #tokens = 0;
  readonly #nodes = new Map<number, number>();

  add(tokens: number, nodes: number): void {
    for (const [bucket, weight] of this.#nodes) this.#nodes.set(bucket, memory * weight);
    const bucket = nodeBucket(nodes);
    this.#nodes.set(bucket, (this.#nodes.get(bucket) ?? 0) + 1);
    this.#tokens = memory * this.#tokens + tokens;
    this.weight = memory * this.weight + 1;
  }

  /** Tokens per drafted round. */
  tokens(prior?: DraftHistory): number {
    const [mean, weight] = prior === undefined ? [1, 0] : [prior.tokens(), Math.min(priorWeight, prior.weight)];
    return this.weight + weight === 0 ? 1 : (this.#tokens + weight * mean) / (this.weight + weight);
  }

  /** The probability that a tree has no more nodes than this. */
  within(nodes: number, prior?: DraftHistory): number {
    const weight = prior === undefined ? 0 : Math.min(priorWeight, prior.weight);
    if (this.weight + weight === 0) return 0;
    const measured = [...this.#nodes].reduce((sum, [bucket, times]) => sum + (bucket <= nodes ? times : 0), 0);
    return (measured + (weight === 0 ? 0 : weight * (prior?.within(nodes) ?? 0))) / (this.weight + weight);
  }

  get buckets(): readonly number[] {
    return [...this.#nodes.keys()];
  }
}

/** One text's pace among others. */
export class TextPace implements Pacing {
  readonly history = new DraftHistory();
  /** Nodes in the current round's tree, 0 if nothing was drafted although it was allowed; undefined before there is a tree. */
  nodes: number | undefined;
  readonly rate: (nodes: number, tokens: number) => number;
  readonly #round: () => Pace;
  readonly #all: DraftHistory;

  constructor(round: () => Pace, all: DraftHistory, rate: (nodes: number, tokens: number) => number) {
    this.#round = round;
    this.#all = all;
    this.rate = rate;
  }

  get next(): Pace {
    return this.#round();
  }

  record(pace: Pace, _seconds: number, tokens: number, nodes: number): void {
    this.nodes = nodes;
    if (pace !== 'speculative') return;
    // Not 1, which costs less: even a drafter that proposes nothing took time.
    const drafted = (this.nodes = nodes === 1 ? 0 : nodes);
    this.history.add(tokens, drafted);
    this.#all.add(tokens, drafted);
  }
}

/** The pace of one text's rounds, or, through `begin` and `end`, of texts that share rounds. */
export class AdaptiveSpeculation implements Pacing {
  readonly costs: StepCosts;
  /** Whether any text has drafted: the costs of rounds are useless before. */
  drafts = false;
  readonly #options: Required<PacingOptions>;
  readonly #all = new DraftHistory();
  #alone: TextPace | undefined;
  #decision: Pace = 'speculative';
  /** The current round's pace, and the previous one's. */
  #pace: Pace = 'speculative';
  #before: Pace | undefined;
  #rows = 0;
  #texts: readonly TextPace[] = [];
  #interval: number;
  /** Rounds until the slower pace is tried. */
  #left: number;
  /** Rounds left in a trial. */
  #chance = 0;
  /**
   * Rounds for which a decision to go on sequentially holds, while the numbers of rows and of texts that can draft stay the
   * same.
   */
  #settled = { rounds: 0, rows: 0, texts: 0 };

  /**
   * @param costs measured earlier on the same engine
   * @throws LinnetError `CONFIG` for options that are not whole numbers of at least 1
   */
  constructor({ trial = 6, interval = 48, longestInterval = 768 }: PacingOptions = {}, costs = new StepCosts()) {
    this.costs = costs;
    this.#options = { trial, interval, longestInterval };
    for (const [name, value] of Object.entries(this.#options)) requireCount(value, `${name} of adaptive`, 1, 'CONFIG');
    this.#interval = interval;
    this.#left = interval;
  }

  /** The faster pace so far; `speculative` until both have been tried. */
  get decision(): Pace {
    return this.#decision;
  }

  /** The pace of a single text's next round. */
  get next(): Pace {
    return this.begin(1, [(this.#alone ??= this.newText())]);
  }

  /** Records a single text's round. */
  record(pace: Pace, seconds: number, tokens: number, nodes: number): void {
    this.#alone?.record(pace, seconds, tokens, nodes);
    this.end(seconds);
  }

  /** Tokens per second of the current round, if a text's tree of `nodes` nodes yields `tokens` tokens. */
  readonly rate = (nodes: number, tokens: number): number => {
    const rows = this.#rows;
    const one = this.costs.seconds(rows, 1) ?? 1;
    const seconds = nodes === 1 ? one : (this.costs.seconds(rows, nodes) ?? one * (1 + assumedCost * (nodes - 1)));
    return (rows - 1 + tokens) / seconds;
  };

  /** The pace for a text that shares its rounds and drafts when allowed. */
  newText(): TextPace {
    this.drafts = true;
    return new TextPace(() => this.#pace, this.#all, this.rate);
  }

  /**
   * Begins a round.
   * @param rows number of texts in the round
   * @param texts paces of those that can draft
   * @returns the pace of the round
   */
  begin(rows: number, texts: readonly TextPace[]): Pace {
    this.#rows = rows;
    this.#texts = texts;
    for (const text of texts) text.nodes = undefined;
    if (texts.length > 0) this.#pace = this.#decide(rows, texts);
    return this.#pace;
  }

  /** Ends a round: its duration. */
  end(seconds: number): void {
    if (!this.drafts) return;
    const nodes = this.#texts.length === 0 ? [1] : this.#texts.flatMap((text) => text.nodes ?? []);
    if (nodes.length === 0) return; // first tokens, which need no run
    // The first round after a change pays for postponed work, such as text that a drafter must read.
    const measured = this.#pace === this.#before && this.#settled.rounds % measuredRound === 0;
    if (measured) this.costs.record(this.#rows, Math.max(...nodes), seconds);
    this.#before = this.#pace;
  }

  #decide(rows: number, texts: readonly TextPace[]): Pace {
    const settled = this.#settled;
    if (settled.rows !== rows || settled.texts !== texts.length) settled.rounds = 0;
    if (settled.rounds > 0) {
      settled.rounds--;
      return 'sequential';
    }
    const sequential = this.costs.seconds(rows, 1);
    if (sequential === undefined || !this.costs.knows(rows, 1)) return 'sequential';
    if (this.#chance > 0) {
      this.#chance--;
      return this.#decision === 'sequential' ? 'speculative' : 'sequential';
    }
    const gain = this.#expected(rows, texts);
    const decision = gain === undefined || gain > (worthwhile * rows) / sequential ? 'speculative' : 'sequential';
    const { trial, interval, longestInterval } = this.#options;
    if (gain === undefined || decision !== this.#decision) this.#interval = this.#left = interval;
    this.#decision = decision;
    if (--this.#left > 0) {
      // Meanwhile nothing is learned about drafts; deciding takes a share of a short step.
      const rounds = decision === 'sequential' ? Math.min(settledRounds, this.#left - 1) : 0;
      this.#left -= rounds;
      this.#settled = { rounds, rows, texts: texts.length };
      return decision;
    }
    this.#interval = Math.min(2 * this.#interval, longestInterval);
    this.#left = this.#interval;
    this.#chance = trial;
    return decision === 'sequential' ? 'speculative' : 'sequential';
  }

  /** A drafted round's tokens per second; undefined if nothing is known about drafts or their nodes' cost. */
  #expected(rows: number, texts: readonly TextPace[]): number | undefined {
    if (this.#all.weight === 0) return undefined;
    const tokens = texts.reduce((sum, { history }) => sum + history.tokens(this.#all), rows - texts.length);
    const buckets = new Set([0, ...this.#all.buckets, ...texts.flatMap(({ history }) => history.buckets)]);
    let seconds = 0;
    let before = 0;
    // The largest tree determines the step's cost: the chance that all trees fit a size, size by size.
    for (const nodes of [...buckets].sort((a, b) => a - b)) {
      const within = texts.reduce((product, { history }) => product * history.within(nodes, this.#all), 1);
      if (within === before) continue;
      const cost = this.costs.seconds(rows, nodes);
      if (cost === undefined) return undefined;
      seconds += (within - before) * cost;
      before = within;
    }
    return seconds > 0 ? tokens / seconds : undefined;
  }
}

/** Samples before a mean counts. */
const enough = 3;
/**
 * Factor above its mean at which a step counts as disturbed by the machine: by compilation or garbage collection. `enough`
 * of them in a row mean that such steps have become slower, for example because a cache grew.
 */
const outlier = 8;

interface Cell {
  readonly rows: number;
  readonly nodes: number;
  seconds: number;
  weight: number;
  /** −1 at first: the first step of a kind pays for memory. */
  count: number;
  /** Outliers since the last regular step. */
  outliers: number;
}

/** Counts trees' nodes in powers of two; 0 is a lone root although the drafter was asked for more. */
export function nodeBucket(nodes: number): number {
  return nodes < 1 ? 0 : 2 ** Math.ceil(Math.log2(nodes));
}

export class StepCosts {
  readonly #cells = new Map<string, Cell>();

  /** Records a step's seconds by its rows and its largest tree's nodes. */
  record(rows: number, nodes: number, seconds: number): void {
    const bucket = nodeBucket(nodes);
    const name = `${rows} ${bucket}`;
    const cell = this.#cells.get(name) ?? { rows, nodes: bucket, seconds: Infinity, weight: 1, count: -1, outliers: 0 };
    this.#cells.set(name, cell);
    const isOutlier = cell.count >= enough && seconds > outlier * (cell.seconds / cell.weight);
    if (isOutlier && ++cell.outliers < enough) return;
    cell.outliers = 0;
    if (cell.count++ < enough) {
      // The fastest of the first steps: others were delayed.
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

  /** Such a step's seconds: measured, or from a line fitted to measured steps; undefined with too few of them. */
  seconds(rows: number, nodes: number): number | undefined {
    const bucket = nodeBucket(nodes);
    const cell = this.#cells.get(`${rows} ${bucket}`);
    if (cell !== undefined && cell.count >= enough) return cell.seconds / cell.weight;
    return this.#line(rows * Math.max(1, bucket));
  }

  /** Least squares over rows × nodes, neither falling nor negative. */
  #line(x: number): number | undefined {
    const points = [...this.#cells.values()]
      .filter(({ count }) => count >= enough)
      .map(({ rows, nodes, seconds, weight }) => ({ x: rows * Math.max(1, nodes), y: seconds / weight }));
    if (new Set(points.map((point) => point.x)).size < 2) return undefined;
    const meanX = points.reduce((sum, point) => sum + point.x, 0) / points.length;
    const meanY = points.reduce((sum, point) => sum + point.y, 0) / points.length;
    const covariance = points.reduce((sum, point) => sum + (point.x - meanX) * (point.y - meanY), 0);
    const variance = points.reduce((sum, point) => sum + (point.x - meanX) ** 2, 0);
    const slope = Math.max(0, covariance / variance);
    const least = Math.min(...points.map(({ y }) => y));
    return Math.max(least, meanY + slope * (x - meanX));
  }
}
