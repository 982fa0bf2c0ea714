/** Yield and cost of speculation. */

/** Where the time of a round goes, in seconds. */
export interface RoundSeconds {
  /** Making the draft, and learning from what became of it. */
  readonly draft: number;
  /** The model's run over the tree, its masks included. */
  readonly verify: number;
  /** The acceptance rule. */
  readonly accept: number;
  /** Taking the accepted rows of the round before into the state. */
  readonly commit: number;
}

/** One round, as `record` is reported. */
export interface Round {
  /** Number of nodes read, the root included. */
  readonly nodes: number;
  /** Accepted nodes as the drafter numbered them, the root included. */
  readonly path: readonly number[];
  /** Nodes of the draft that were read, as the drafter numbered them. */
  readonly offered: Iterable<number>;
  /** Whether the drafter was asked; without it a round is sequential decoding. */
  readonly speculated: boolean;
  readonly seconds: RoundSeconds;
}

/** Statistics for people and JSON. */
export interface SpeculationSummary {
  /** Runs of the model. */
  readonly steps: number;
  /** Those of them that read a draft. */
  readonly speculatedSteps: number;
  /** Tokens that a run brought, accepted ones and the one after them; 0 before the first. */
  readonly tokensPerStep: number;
  /** Nodes that a run read. */
  readonly nodesPerStep: number;
  /** Share of speculated runs that accepted a node of depth 1, 2, … */
  readonly acceptedByDepth: readonly number[];
  readonly seconds: RoundSeconds;
}

/** Adds up rounds. */
export class SpeculationStatistics {
  #steps = 0;
  #speculated = 0;
  #tokens = 0;
  #nodes = 0;
  readonly #depths: number[] = [];
  readonly #offered: number[] = [];
  readonly #accepted: number[] = [];
  readonly #seconds = { draft: 0, verify: 0, accept: 0, commit: 0 };

  /** Counts one round. */
  record({ nodes, path, offered, speculated, seconds }: Round): void {
    this.#steps++;
    this.#tokens += path.length;
    this.#nodes += nodes;
    for (const part of roundParts) this.#seconds[part] += seconds[part];
    if (!speculated) return;
    this.#speculated++;
    for (let depth = 1; depth < path.length; depth++) count(this.#depths, depth - 1);
    for (const node of offered) count(this.#offered, node);
    for (const node of path) count(this.#accepted, node);
  }

  /** Adds time that belongs to no later round, such as the last commit. */
  addSeconds(part: keyof RoundSeconds, seconds: number): void {
    this.#seconds[part] += seconds;
  }

  /** The means over all rounds so far. */
  get summary(): SpeculationSummary {
    const steps = Math.max(1, this.#steps);
    return {
      steps: this.#steps,
      speculatedSteps: this.#speculated,
      tokensPerStep: this.#tokens / steps,
      nodesPerStep: this.#nodes / steps,
      acceptedByDepth: this.#depths.map((accepted) => accepted / this.#speculated),
      seconds: { ...this.#seconds },
    };
  }

  /**
   * How often each node was accepted of the times it was offered, NaN where it never was. For drafters whose trees have
   * one shape, as Medusa's; node 0 is always accepted.
   */
  get acceptanceByNode(): number[] {
    return Array.from(this.#offered, (offered, node) => (this.#accepted[node] ?? 0) / (offered ?? 0));
  }
}

const roundParts = ['draft', 'verify', 'accept', 'commit'] as const;

function count(counts: number[], index: number): void {
  while (counts.length <= index) counts.push(0);
  counts[index]++;
}
