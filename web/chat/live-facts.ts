/** Measurements of a streaming answer: position, speed, size of the state. */
import type { AnswerPiece, DraftedTree } from './answer-stream.ts';

/** Points of the chart. */
export interface History {
  /** Tokens in the state. */
  readonly positions: readonly number[];
  /** Tokens per second; null if not yet known. */
  readonly rates: readonly (number | null)[];
  readonly bytes: readonly (number | null)[];
}

export interface LiveFacts {
  readonly position: number | undefined;
  readonly stateBytes: number | undefined;
  readonly tokensPerSecond: number | undefined;
  /** Most recent trees, newest first. */
  readonly trees: readonly DraftedTree[];
  /** Tokens guessed and accepted over the whole answer. */
  readonly guessed: number;
  readonly accepted: number;
  readonly history: History;
}

export const noFacts: LiveFacts = {
  position: undefined,
  stateBytes: undefined,
  tokensPerSecond: undefined,
  trees: [],
  guessed: 0,
  accepted: 0,
  history: { positions: [], rates: [], bytes: [] },
};

const shownTrees = 6;
/** The rate's window in milliseconds. */
const rateWindow = 1500;
/** Points of the history; when full, every other point is dropped. */
const mostPoints = 240;

/** Collects facts from one answer's pieces. */
export class FactsOfAnswer {
  #facts: LiveFacts;
  #recent: { readonly time: number; readonly position: number }[] = [];
  /** Position of the next point. */
  #due = 0;
  #every = 1;

  /** @param before the previous answer's facts; its state is shown until a new one arrives */
  constructor(before: LiveFacts) {
    this.#facts = { ...noFacts, position: before.position, stateBytes: before.stateBytes };
  }

  get facts(): LiveFacts {
    return this.#facts;
  }

  /** @param time arrival in milliseconds */
  take(piece: AnswerPiece, time: number): void {
    const { position = this.#facts.position, stateBytes = this.#facts.stateBytes, trees } = piece;
    const tokensPerSecond = piece.tokensPerSecond ?? this.#rate(piece.position, time) ?? this.#facts.tokensPerSecond;
    this.#facts = {
      position,
      stateBytes,
      tokensPerSecond,
      trees: [...trees.toReversed(), ...this.#facts.trees].slice(0, shownTrees),
      guessed: trees.reduce((sum, { tokens }) => sum + tokens.length - 1, this.#facts.guessed),
      accepted: trees.reduce((sum, { accepted }) => sum + accepted.length - 1, this.#facts.accepted),
      history: this.#facts.history,
    };
    this.#record();
  }

  #rate(position: number | undefined, time: number): number | undefined {
    if (position === undefined) return undefined;
    this.#recent.push({ time, position });
    this.#recent = this.#recent.filter((sample) => time - sample.time <= rateWindow);
    const [first] = this.#recent;
    const seconds = (time - first.time) / 1000;
    // Too short to tell: several pieces may arrive in one packet.
    return seconds < 0.1 ? undefined : (position - first.position) / seconds;
  }

  #record(): void {
    const { position, stateBytes, tokensPerSecond, history } = this.#facts;
    const { positions, rates, bytes } = history;
    const last = positions.at(-1);
    if (position === undefined || (last !== undefined && position <= last) || position < this.#due) return;
    const thin = positions.length >= mostPoints;
    if (thin) this.#every *= 2;
    this.#due = position + this.#every;
    const keep = <T>(list: readonly T[]): readonly T[] => (thin ? list.filter((_, at) => at % 2 === 0) : list);
    this.#facts = {
      ...this.#facts,
      history: {
        positions: [...keep(positions), position],
        rates: [...keep(rates), tokensPerSecond ?? null],
        bytes: [...keep(bytes), stateBytes ?? null],
      },
    };
  }
}
