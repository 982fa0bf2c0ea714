/**
 * Trees grown from guesses, the likeliest node first, to the size that brings the most tokens a second: a path is as likely as
 * its guesses together, a tree brings as many tokens as its nodes are likely, and costs of sizes have been measured.
 */
import { TokenTree } from '../../../attention/tree.ts';
import { requireCount } from '../../../files/arguments.ts';
import { rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter, ReadDraft } from './drafter.ts';
import type { Guess, Guesser, DraftPlace } from './guesser.ts';

/** A node with a smaller chance is not worth looking at. */
const leastChance = 0.02;
/** Cost of a node as a share of a step, where no costs are measured. */
const assumedCost = 0.05;

/** A node of the tree, or one that may join it. */
interface Grown {
  readonly token: number;
  /** −1 for the root. */
  readonly parent: number;
  readonly depth: number;
  /** Probability that it becomes text. */
  readonly chance: number;
  /** Where its parent is, by guesser. */
  readonly from: readonly DraftPlace[];
}

/** The most tokens a second of the sizes so far, and those of any. */
interface Reached {
  readonly best: number;
  readonly rate: NonNullable<DraftContext['rate']>;
}

/** A node whose children were guessed. */
interface Expanded {
  readonly guesses: readonly (readonly Guess[])[];
  readonly children: Map<number, number>;
}

export class GrowingDrafter implements Drafter {
  readonly name: string;
  readonly #guessers: readonly Guesser[];
  readonly #maxNodes: number;
  /** Nodes of the last draft, by number. */
  #expanded: Expanded[] = [];

  /**
   * @param guessers where one has guessed, those after it share the probability that is left
   * @throws LinnetError `CONFIG` for a bound that is not a whole number of at least 1
   */
  constructor(name: string, guessers: readonly Guesser[], { maxNodes = 32 }: { readonly maxNodes?: number } = {}) {
    requireCount(maxNodes, 'maxNodes', 1, 'CONFIG');
    this.name = name;
    this.#guessers = guessers;
    this.#maxNodes = maxNodes;
  }

  propose(context: DraftContext): Promise<Draft> {
    const { root, maxDepth, rate = assumedRate } = context;
    const nodes: Grown[] = [{ token: root, parent: -1, depth: 0, chance: 1, from: [] }];
    const candidates: Grown[] = [];
    this.#expanded = [];
    this.#expand(
      nodes,
      candidates,
      this.#guessers.map((guesser) => guesser.begin(context)),
    );
    let tokens = 1;
    let [size, best] = [1, rate(1, 1)];
    while (maxDepth > 0 && nodes.length < this.#maxNodes && candidates.length > 0) {
      const next = takeLikeliest(candidates);
      if (isPowerOfTwo(nodes.length) && !this.#mayGain(nodes.length, tokens, next.chance, { best, rate })) break;
      tokens += next.chance;
      const node = nodes.push(next) - 1;
      this.#expanded[next.parent].children.set(next.token, node);
      const places = next.from.map((place) => place.after(next.token));
      if (next.depth < maxDepth) this.#expand(nodes, candidates, places);
      // Costs are known by powers of two: a size of such costs as much as those below it.
      if (candidates.length > 0 && nodes.length < this.#maxNodes && !isPowerOfTwo(nodes.length)) continue;
      const reached = rate(nodes.length, tokens);
      if (reached > best) [size, best] = [nodes.length, reached];
    }
    if (size === 1) return Promise.resolve(rootDraft(root));
    const kept = nodes.slice(0, size);
    const expanded = this.#expanded;
    return Promise.resolve({
      tree: new TokenTree(kept.map(({ parent }) => parent)),
      tokens: Int32Array.from(kept, ({ token }) => token),
      source: (node) => {
        const { token, parent } = kept[node];
        return expanded[parent]?.guesses.flat().find((guess) => guess.token === token)?.source ?? '';
      },
    });
  }

  accepted(tokens: readonly number[], read: ReadDraft): void {
    let node: number | undefined = 0;
    for (const token of tokens) {
      const expanded: Expanded | undefined = node === undefined ? undefined : this.#expanded[node];
      if (expanded === undefined) break;
      for (const guesses of expanded.guesses) {
        const right = guesses.find((guess) => guess.token === token)?.chance;
        for (const chance of new Set(guesses.map((guess) => guess.chance))) chance.record(chance === right);
        if (right !== undefined) break; // the chances of later guessers are for where the earlier ones fail
      }
      node = expanded.children.get(token);
    }
    this.#expanded = [];
    for (const guesser of this.#guessers) guesser.accepted?.(tokens, read);
  }

  ended(): void {
    for (const guesser of this.#guessers) guesser.ended?.();
  }

  /** Whether any larger size would bring more, if all nodes to come were as likely as the next, the likeliest of them. */
  #mayGain(size: number, tokens: number, chance: number, { best, rate }: Reached): boolean {
    for (let larger = 2 * size; larger <= this.#maxNodes; larger *= 2) {
      if (rate(larger, tokens + (larger - size) * chance) > best) return true;
    }
    return false;
  }

  /** Guesses the children of the last node. */
  #expand(nodes: readonly Grown[], candidates: Grown[], places: readonly DraftPlace[]): void {
    const parent = nodes.length - 1;
    const { chance, depth } = nodes[parent];
    const guesses = places.map((place) => place.guesses);
    this.#expanded[parent] = { guesses, children: new Map() };
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
  }
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
