/**
 * Whether speculation pays: measured while decoding, since it depends on the model, the machine, and how predictable
 * the text is just now. Tiny models and texts that cannot be guessed are faster without.
 */
import { LinnetError } from '../../errors.ts';

/** Sequential decoding, or drafts. */
export type Pace = 'sequential' | 'speculative';

const paces = ['speculative', 'sequential'] as const;

/** Decides which rounds of a text are drafted. */
export interface Pacing {
  /** The pace of the next round. */
  readonly next: Pace;
  /** Records the time of a round, its new tokens and the nodes run for it. */
  record(pace: Pace, seconds: number, tokens: number, nodes: number): void;
}

/** How often both ways are tried. */
export interface PacingOptions {
  /** Rounds of each pace before the first decision, and whenever the slower one gets another chance. Default 6. */
  readonly trial?: number;
  /** Rounds from a decision to the first other chance; doubled while the decision stays the same. Default 48. */
  readonly interval?: number;
  /** Largest number of rounds between chances. Default 768. */
  readonly longestInterval?: number;
}

/** Weight of the past in running means; a trial of 6 rounds replaces about half of it. */
const memory = 0.9;

/** How much slower than the other pace was a decision may become before it is changed at once. */
const surpassed = 1.1;

/** Running means of a pace. */
interface Measured {
  seconds: number;
  tokens: number;
  rounds: number;
  /** The next round is not counted: the first after a pause pays for postponed work, such as text to read. */
  resuming: boolean;
}

/** Decides from round to round. Texts do not depend on it where the acceptance rule is exact. */
export class AdaptiveSpeculation implements Pacing {
  readonly #trial: number;
  readonly #longestInterval: number;
  readonly #measured: Record<Pace, Measured> = {
    sequential: { seconds: 0, tokens: 0, rounds: 0, resuming: true },
    speculative: { seconds: 0, tokens: 0, rounds: 0, resuming: true },
  };
  readonly #firstInterval: number;
  #interval: number;
  /** Rounds until the slower pace gets a chance; the first decision is due at once. */
  #left = 0;
  /** Rounds left of a chance. */
  #chance = 1;
  #decision: Pace | undefined;

  /** @throws LinnetError `CONFIG` for options that are not whole numbers of at least 1 */
  constructor({ trial = 6, interval = 48, longestInterval = 768 }: PacingOptions = {}) {
    for (const [name, value] of Object.entries({ trial, interval, longestInterval })) {
      if (!(Number.isSafeInteger(value) && value >= 1)) {
        throw new LinnetError('CONFIG', `${name} of adaptive is ${value}, expected a whole number of at least 1`);
      }
    }
    this.#trial = trial;
    this.#firstInterval = interval;
    this.#interval = interval;
    this.#longestInterval = longestInterval;
  }

  /** The pace of the next round. */
  get next(): Pace {
    const untried = paces.find((pace) => this.#measured[pace].rounds < this.#trial);
    if (untried !== undefined) return untried;
    return this.#left === 0 ? other(this.decision) : this.decision;
  }

  /** The faster pace so far; `speculative` until both have been tried. */
  get decision(): Pace {
    return this.#decision ?? 'speculative';
  }

  /** Records the time of a round and its new tokens. */
  record(pace: Pace, seconds: number, tokens: number): void {
    const measured = this.#measured[pace];
    if (measured.resuming) {
      measured.resuming = false;
      return;
    }
    measured.rounds++;
    measured.seconds = memory * measured.seconds + seconds;
    measured.tokens = memory * measured.tokens + tokens;
    if (paces.some((each) => this.#measured[each].rounds < this.#trial)) return;
    if (this.#left === 0) {
      if (pace !== this.decision && --this.#chance === 0) this.#decide(pace);
    } else if (this.#secondsPerToken(this.decision) > surpassed * this.#secondsPerToken(other(this.decision))) {
      this.#decide(pace);
    } else if (--this.#left === 0) {
      this.#chance = this.#trial;
      this.#measured[other(this.decision)].resuming = true;
    }
  }

  #decide(running: Pace): void {
    const faster = paces.reduce((a, b) => (this.#secondsPerToken(b) < this.#secondsPerToken(a) ? b : a));
    this.#interval =
      faster === this.#decision ? Math.min(2 * this.#interval, this.#longestInterval) : this.#firstInterval;
    this.#decision = faster;
    if (faster !== running) this.#measured[faster].resuming = true;
    this.#left = this.#interval;
  }

  #secondsPerToken(pace: Pace): number {
    const { seconds, tokens } = this.#measured[pace];
    return seconds / tokens;
  }
}

function other(pace: Pace): Pace {
  return pace === 'sequential' ? 'speculative' : 'sequential';
}
