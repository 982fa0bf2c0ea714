/**
 * Whether the texts of a round draft: decided anew for every round, by expected tokens per second. The cost of a step is
 * measured, by rows and nodes, and so are the tokens that drafts bring to each text. With few texts a machine has time for the
 * nodes of trees; many texts fill it with rows, each of which yields a token for certain.
 *
 * Texts do not depend on it: accepted tokens are those the model would have generated.
 */
import type { Pace, Pacing } from '../../decoding/speculation/adaptive-speculation.ts';
import { nodeBucket, StepCosts } from './step-costs.ts';

/** Weight of the past in the means of drafted rounds. */
const memory = 0.9;
/** Weight of the mean over all texts, in rounds, where a text has few rounds of its own. */
const priorWeight = 2;
/** Rounds without drafts after which they get another chance, and how many rounds that is. */
const chanceEvery = 64;
const chanceRounds = 2;

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
    const own = [...this.#nodes].reduce((sum, [bucket, times]) => sum + (bucket <= nodes ? times : 0), 0);
    return (own + (weight === 0 ? 0 : weight * (prior?.within(nodes) ?? 0))) / (this.weight + weight);
  }

  get buckets(): readonly number[] {
    return [...this.#nodes.keys()];
  }
}

/** The pace of one text. */
export class TextPace implements Pacing {
  readonly history = new DraftHistory();
  /** Nodes of the tree of the round under way; 0 before there is one. */
  nodes = 0;
  readonly #round: () => Pace;
  readonly #all: DraftHistory;

  constructor(round: () => Pace, all: DraftHistory) {
    this.#round = round;
    this.#all = all;
  }

  get next(): Pace {
    return this.#round();
  }

  record(pace: Pace, _seconds: number, tokens: number, nodes: number): void {
    this.nodes = nodes;
    if (pace !== 'speculative') return;
    this.history.add(tokens, nodes);
    this.#all.add(tokens, nodes);
  }
}

/** The pace of all rounds of a scheduler. */
export class RoundPacing {
  readonly costs: StepCosts;
  readonly #all = new DraftHistory();
  /** Whether any text has drafted: the costs of steps are of no use before. */
  #drafts = false;
  #pace: Pace = 'speculative';
  #rows = 0;
  #paces: readonly TextPace[] = [];
  #withoutDrafts = 0;
  #chance = 0;

  constructor(costs = new StepCosts()) {
    this.costs = costs;
  }

  /** The pace of a text that drafts when it may. */
  newText(): TextPace {
    this.#drafts = true;
    return new TextPace(() => this.#pace, this.#all);
  }

  /**
   * Begins a round.
   * @param rows all texts of the round
   * @param paces paces of the texts that can draft
   * @returns the pace of the round
   */
  begin(rows: number, paces: readonly TextPace[]): Pace {
    this.#rows = rows;
    this.#paces = paces;
    for (const pace of paces) pace.nodes = 0;
    if (paces.length > 0) this.#pace = this.#decide(rows, paces);
    return this.#pace;
  }

  /** Ends the round: how long it took. */
  end(seconds: number): void {
    if (!this.#drafts) return;
    const nodes = Math.max(1, ...this.#paces.map((pace) => pace.nodes));
    this.costs.record(this.#rows, nodes, seconds);
  }

  #decide(rows: number, paces: readonly TextPace[]): Pace {
    if (!this.costs.knows(rows, 1)) return 'sequential';
    if (this.#chance > 0) {
      this.#chance--;
      return 'speculative';
    }
    const gain = this.#expected(rows, paces);
    if (gain === undefined || gain > rows / (this.costs.seconds(rows, 1) ?? 1)) {
      this.#withoutDrafts = 0;
      return 'speculative';
    }
    if (++this.#withoutDrafts < chanceEvery) return 'sequential';
    this.#withoutDrafts = 0;
    this.#chance = chanceRounds - 1;
    return 'speculative';
  }

  /** Tokens per second of a drafted round; undefined where nothing is known of drafts or of what their nodes cost. */
  #expected(rows: number, paces: readonly TextPace[]): number | undefined {
    if (this.#all.weight === 0) return undefined;
    const tokens = paces.reduce((sum, { history }) => sum + history.tokens(this.#all), rows - paces.length);
    const buckets = new Set([1, ...this.#all.buckets, ...paces.flatMap(({ history }) => history.buckets)]);
    let seconds = 0;
    let before = 0;
    // The largest tree decides the cost of the step: the chance that all trees are within a size, size by size.
    for (const nodes of [...buckets].sort((a, b) => a - b)) {
      const within = paces.reduce((product, { history }) => product * history.within(nodes, this.#all), 1);
      const cost = this.costs.seconds(rows, nodes);
      if (cost === undefined) return undefined;
      seconds += (within - before) * cost;
      before = within;
    }
    return seconds > 0 ? tokens / seconds : undefined;
  }
}
