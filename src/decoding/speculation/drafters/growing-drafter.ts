/**
 * Trees grown from guesses, likeliest node first, to the size that yields the most tokens per second: a path's probability
 * is the product of its guesses', a tree's expected tokens the sum of its nodes', and sizes' costs are measured.
 */
import { TokenTree } from '../../../attention/tree.ts';
import { rootDraft } from './draft-trie.ts';
import type { DraftContext, Drafter, ReadDraft } from './drafter.ts';

/** Most rounds that chances remember, so that they follow the texts. */
const remembered = 256;
/** Weight of the initial assumption, in guesses. */
const assumed = 8;

/** How often a kind of guess came true. Counts are float32, as files keep them. */
export class Chance {
  #hits: number;
  #tries = assumed;

  /** @param value the initial share */
  constructor(value: number) {
    this.#hits = Math.fround(assumed * value);
  }

  /** Whether no guess has been counted yet. */
  get isAssumed(): boolean {
    return this.#tries === assumed;
  }

  /** Guesses that came true, and all guesses. */
  get counts(): readonly [number, number] {
    return [this.#hits, this.#tries];
  }

  /** Takes over another's counts if they cover more guesses. */
  take(hits: number, tries: number): void {
    if (tries > this.#tries) [this.#hits, this.#tries] = [hits, tries];
  }

  get value(): number {
    return this.#hits / this.#tries;
  }

  record(hit: boolean): void {
    if (this.#tries >= remembered) {
      this.#tries /= 2;
      this.#hits /= 2;
    }
    this.#tries++;
    if (hit) this.#hits = Math.fround(this.#hits + 1);
  }
}

/** A token that may follow, with probability `share` × `chance`. */
export interface Guess {
  readonly token: number;
  readonly share: number;
  readonly chance: Chance;
  /** See `Draft.source`. */
  readonly source: string;
}

/** A place in the tree: the text, then a path of guesses. */
export interface DraftPlace {
  /** Guesses for the next token, likeliest first. */
  readonly guesses: readonly Guess[];
  /** The place after one more token. */
  after(token: number): DraftPlace;
}

/** Guesses for one text. Its memory outlives the text. */
export interface Guesser {
  /** The place after the text's last token. */
  begin(context: DraftContext): DraftPlace;
  /** Learns from a round: the tokens that followed the root, and the nodes that the model read. */
  accepted?(tokens: readonly number[], read: ReadDraft): void;
  /** The text has ended. */
  ended?(): void;
}

/** Smallest chance at which a node is worth considering. */
const leastChance = 0.02;
/** A node's cost as a share of a step, until costs are measured. */
const assumedCost = 0.05;

/** A node of the tree, or a candidate. */
interface Grown {
  readonly token: number;
  /** −1 for the root. */
  readonly parent: number;
  readonly depth: number;
  /** Probability that it enters the text. */
  readonly chance: number;
  /** Its parent's place, by guesser. */
  readonly from: readonly DraftPlace[];
}

/** A node whose children were guessed. */
interface Expanded {
  readonly guesses: readonly (readonly Guess[])[];
  readonly children: Map<number, number>;
}

/**
 * A drafter that grows trees.
 * @param guessers each gets the probability that those before it left
 */
export function growingDrafter(name: string, guessers: readonly Guesser[], maxNodes = 32): Drafter {
  /** Nodes of the last draft, by number. */
  let expanded: Expanded[] = [];

  /** Guesses the children of the last node. */
  const expand = (nodes: readonly Grown[], candidates: Grown[], places: readonly DraftPlace[]): void => {
    const parent = nodes.length - 1;
    const { chance, depth } = nodes[parent];
    const guesses = places.map((place) => place.guesses);
    expanded[parent] = { guesses, children: new Map() };
    const chances = new Map<number, number>();
    let left = chance;
    for (const each of guesses) {
      let taken = 0;
      for (const guess of each) {
        const own = guess.share * guess.chance.value;
        taken += own;
        chances.set(guess.token, (chances.get(guess.token) ?? 0) + left * own);
      }
      left *= Math.max(0, 1 - taken);
    }
    for (const [token, own] of chances) {
      if (own >= leastChance) candidates.push({ token, parent, depth: depth + 1, chance: own, from: places });
    }
  };
  return {
    name,
    propose(context) {
      const { root, maxDepth, rate = assumedRate } = context;
      const nodes: Grown[] = [{ token: root, parent: -1, depth: 0, chance: 1, from: [] }];
      const candidates: Grown[] = [];
      expanded = [];
      const places = guessers.map((guesser) => guesser.begin(context));
      expand(nodes, candidates, places);
      let tokens = 1;
      let [size, best] = [1, rate(1, 1)];
      /** Whether any larger size could yield more, if all further nodes were as likely as the next, their likeliest. */
      const mayGain = (chance: number): boolean => {
        for (let larger = 2 * nodes.length; larger <= maxNodes; larger *= 2) {
          if (rate(larger, tokens + (larger - nodes.length) * chance) > best) return true;
        }
        return false;
      };
      while (maxDepth > 0 && nodes.length < maxNodes && candidates.length > 0) {
        const next = takeLikeliest(candidates);
        if (isPowerOfTwo(nodes.length) && !mayGain(next.chance)) break;
        tokens += next.chance;
        const node = nodes.push(next) - 1;
        expanded[next.parent].children.set(next.token, node);
        const after = next.from.map((place) => place.after(next.token));
        if (next.depth < maxDepth) expand(nodes, candidates, after);
        // Costs are known for powers of two; sizes below one cost as much.
        if (candidates.length > 0 && nodes.length < maxNodes && !isPowerOfTwo(nodes.length)) continue;
        const reached = rate(nodes.length, tokens);
        if (reached > best) [size, best] = [nodes.length, reached];
      }
      if (size === 1) return Promise.resolve(rootDraft(root));
      const kept = nodes.slice(0, size);
      const guessed = expanded;
      return Promise.resolve({
        tree: new TokenTree(kept.map(({ parent }) => parent)),
        tokens: Int32Array.from(kept, ({ token }) => token),
        source: (node) => {
          const { token, parent } = kept[node];
          return guessed[parent]?.guesses.flat().find((guess) => guess.token === token)?.source ?? '';
        },
      });
    },
    accepted(tokens, read) {
      let node: number | undefined = 0;
      for (const token of tokens) {
        const reached: Expanded | undefined = node === undefined ? undefined : expanded[node];
        if (reached === undefined) break;
        for (const guesses of reached.guesses) {
          const right = guesses.find((guess) => guess.token === token)?.chance;
          for (const chance of new Set(guesses.map((guess) => guess.chance))) chance.record(chance === right);
          if (right !== undefined) break; // later guessers' chances apply when earlier ones fail
        }
        node = reached.children.get(token);
      }
      expanded = [];
      for (const guesser of guessers) guesser.accepted?.(tokens, read);
    },
    ended() {
      for (const guesser of guessers) guesser.ended?.();
    },
  };
}

function assumedRate(nodes: number, tokens: number): number {
  return tokens / (1 + assumedCost * (nodes - 1));
}

function isPowerOfTwo(size: number): boolean {
  return (size & (size - 1)) === 0;
}

function takeLikeliest(candidates: Grown[]): Grown {
  let best = 0;
  for (let at = 1; at < candidates.length; at++) if (candidates[at].chance > candidates[best].chance) best = at;
  const [taken] = candidates.splice(best, 1);
  return taken;
}
