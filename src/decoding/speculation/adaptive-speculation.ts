/**
 * Whether rounds draft: decided round by round, by expected tokens per second, since it depends on the model, the machine,
 * and how predictable the texts are just now. The seconds of a round are measured by rows and nodes, and so are the tokens that
 * drafts bring to each text. With few texts a machine has time for the nodes of trees; many texts fill it with rows, each of
 * which yields a token for certain.
 *
 * Texts do not depend on it where the acceptance rule is exact.
 */
import { requireCount } from '../../files/arguments.ts';

/** Sequential decoding, or drafts. */
export type Pace = 'sequential' | 'speculative';

/** Decides which rounds of a text are drafted. */
export interface Pacing {
  /** The pace of the next round; asked once a round. */
  readonly next: Pace;
  /** Records the time of a round, its new tokens and the nodes run for it. */
  record(pace: Pace, seconds: number, tokens: number, nodes: number): void;
  /** See `DraftContext.rate`. */
  readonly rate?: (nodes: number, tokens: number) => number;
}

/** How often the slower pace is tried. */
export interface PacingOptions {
  /** Measured rounds of each chance of the slower pace. Default 6. */
  readonly trial?: number;
  /** Rounds from a decision to the first chance; doubled while the decision stays the same. Default 48. */
  readonly interval?: number;
  /** Largest number of rounds between chances. Default 768. */
  readonly longestInterval?: number;
}

/** Options for rounds of several texts, of which each has a short chance to show what its drafts bring. */
export const roundPacing: PacingOptions = { trial: 2, interval: 64, longestInterval: 128 };

/** Weight of the past in running means. */
const memory = 0.9;
/** Weight of the mean over all texts, in rounds, where a text has few rounds of its own. */
const priorWeight = 2;

/** Cost of a node as a share of a step, before anything is measured. */
const assumedCost = 0.2;

/** Rounds for which a decision against drafts holds. */
const settledRounds = 16;

/** Of rounds for which a decision holds every fourth is measured. */
const measuredRound = 4;

/** How much faster drafts must be: a gain that is smaller may be one of measurement. */
const worthwhile = 1.03;

/** Decaying means of drafted rounds: tokens, and sizes of trees. */
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

  /** Tokens of a drafted round. */
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

/** The pace of one text among others. */
export class TextPace implements Pacing {
  readonly history = new DraftHistory();
  /** Nodes of the tree of the round under way, 0 where nothing was drafted though it might have been; undefined before there is one. */
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
    // Not 1, which costs less: a drafter that proposes nothing has taken its time.
    const drafted = (this.nodes = nodes === 1 ? 0 : nodes);
    this.history.add(tokens, drafted);
    this.#all.add(tokens, drafted);
  }
}

/** The pace of the rounds of one text, or of texts that share their rounds: `begin` and `end` then. */
export class AdaptiveSpeculation implements Pacing {
  readonly costs: StepCosts;
  /** Whether any text has drafted: the costs of rounds are of no use before. */
  drafts = false;
  readonly #options: Required<PacingOptions>;
  readonly #all = new DraftHistory();
  #alone: TextPace | undefined;
  #decision: Pace = 'speculative';
  /** Of the round under way, and of the one before. */
  #pace: Pace = 'speculative';
  #before: Pace | undefined;
  #rows = 0;
  #texts: readonly TextPace[] = [];
  #interval: number;
  /** Rounds until the slower pace gets a chance. */
  #left: number;
  /** Rounds left of a chance. */
  #chance = 0;
  /** Rounds for which a decision to go on one by one holds, while rows and texts that can draft are as many as then. */
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

  /** The pace of the next round of a text by itself. */
  get next(): Pace {
    return this.begin(1, [(this.#alone ??= this.newText())]);
  }

  /** Records a round of a text by itself. */
  record(pace: Pace, seconds: number, tokens: number, nodes: number): void {
    this.#alone?.record(pace, seconds, tokens, nodes);
    this.end(seconds);
  }

  /** Tokens a second of the round under way, if a text has a tree of `nodes` nodes that brings `tokens` tokens. */
  readonly rate = (nodes: number, tokens: number): number => {
    const rows = this.#rows;
    const one = this.costs.seconds(rows, 1) ?? 1;
    const seconds = nodes === 1 ? one : (this.costs.seconds(rows, nodes) ?? one * (1 + assumedCost * (nodes - 1)));
    return (rows - 1 + tokens) / seconds;
  };

  /** The pace of a text that shares its rounds with others, and drafts when it may. */
  newText(): TextPace {
    this.drafts = true;
    return new TextPace(() => this.#pace, this.#all, this.rate);
  }

  /**
   * Begins a round.
   * @param rows all texts of the round
   * @param texts paces of the texts that can draft
   * @returns the pace of the round
   */
  begin(rows: number, texts: readonly TextPace[]): Pace {
    this.#rows = rows;
    this.#texts = texts;
    for (const text of texts) text.nodes = undefined;
    if (texts.length > 0) this.#pace = this.#decide(rows, texts);
    return this.#pace;
  }

  /** Ends the round: how long it took. */
  end(seconds: number): void {
    if (!this.drafts) return;
    const nodes = this.#texts.length === 0 ? [1] : this.#texts.flatMap((text) => text.nodes ?? []);
    if (nodes.length === 0) return; // first tokens, which need no run
    // The first round after a change pays for postponed work, such as text that a drafter has to read.
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
      // Nothing is learned of drafts meanwhile, and deciding takes a share of a short step.
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

  /** Tokens per second of a drafted round; undefined where nothing is known of drafts or of what their nodes cost. */
  #expected(rows: number, texts: readonly TextPace[]): number | undefined {
    if (this.#all.weight === 0) return undefined;
    const tokens = texts.reduce((sum, { history }) => sum + history.tokens(this.#all), rows - texts.length);
    const buckets = new Set([0, ...this.#all.buckets, ...texts.flatMap(({ history }) => history.buckets)]);
    let seconds = 0;
    let before = 0;
    // The largest tree decides the cost of the step: the chance that all trees are within a size, size by size.
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
