/**
 * Which nodes of a verified tree become text. The model has predicted what follows every node; a rule walks down from the
 * root and ends with one more token, from which the next tree grows.
 *
 * Drafted tokens are certain guesses, not draws, which makes lossless sampling simple. Recursive rejection (SpecInfer,
 * arXiv 2305.09781) accepts a node's child x with probability p(x), else removes x from p, renormalizes and goes on to the
 * next child; what remains after the last child gives the next token. The chance of taking child x_i is then Π_{j<i} (1 −
 * p(x_j)/r_j) · p(x_i)/r_i = p(x_i), where r_i is the mass that earlier children left. So the rule draws from p, and so
 * does drawing a token from p and then looking for a child that holds it. `exact` does the latter with the sampler's own
 * `next`: not only the distribution but the text itself equals sequential decoding with the same seed.
 */
import { LinnetError } from '../../errors.ts';
import type { Sampler } from '../sampler.ts';
import type { Draft } from './drafters/drafter.ts';

/** A tree that the model has read. */
export interface VerifiedDraft {
  readonly draft: Draft;
  /** Logits [V] of every node. */
  readonly logits: readonly Float32Array[];
  /** The text, including the root. */
  readonly text: readonly number[];
  readonly sampler: Sampler;
}

/** A rule's decision. */
export interface Verdict {
  /** The accepted nodes, from the root down; at least the root, which is already text. */
  readonly path: readonly number[];
  /** The token after the last of them. */
  readonly next: number;
}

/** How nodes are accepted. */
export type AcceptanceRule = (verified: VerifiedDraft) => Verdict | Promise<Verdict>;

/** The decision at a node: the child to continue with, or the token after the path. */
type Choice = { readonly child: number } | { readonly next: number };

/** A rule that walks down from the root, node by node. */
function walking(choose: (verified: VerifiedDraft, node: number, recent: readonly number[]) => Choice): AcceptanceRule {
  return async (verified) => {
    const { draft, text, sampler } = verified;
    const recent = recentText(text, sampler);
    const path = [0];
    for (let node = 0; ; ) {
      await sampler.ready(recent);
      const choice = choose(verified, node, recent);
      if ('next' in choice) return { path, next: choice.next };
      node = choice.child;
      path.push(node);
      recent.push(draft.tokens[node]);
    }
  };
}

/**
 * Exactly the text of sequential decoding: greedy at temperature 0, else sampled with the same seed. Draws as many random
 * numbers as sequential decoding.
 */
export const exact = walking(({ draft, logits, sampler }, node, recent) => {
  const next = sampler.next(logits[node], recent);
  const child = childrenOf(draft, node).find((candidate) => draft.tokens[candidate] === next);
  return child === undefined ? { next } : { child };
});

/** Recursive rejection over each node's children: the base distribution, though not the same draws. */
export const rejection = walking(({ draft, logits, sampler }, node, recent) => {
  const probabilities = sampler.probabilities(logits[node], recent);
  const child = acceptedChild(draft, node, probabilities, sampler);
  return child === undefined ? { next: draw(probabilities, sampler) } : { child };
});

/**
 * Tries the children in turn and removes rejected ones from `probabilities`, without renormalizing. If no other token is
 * possible, takes the last possible child, so that rounding cannot leave nothing.
 */
function acceptedChild(
  { tree, tokens }: Draft,
  node: number,
  probabilities: Float64Array,
  sampler: Sampler,
): number | undefined {
  let remaining = 1;
  const possible = childrenOf({ tree, tokens }, node).filter((child) => probabilities[tokens[child]] > 0);
  for (const child of possible) {
    const token = tokens[child];
    if (sampler.random.uniform() * remaining < probabilities[token]) return child;
    remaining -= probabilities[token];
    probabilities[token] = 0;
  }
  return probabilities.some((probability) => probability > 0) ? undefined : possible.at(-1);
}

/** Draws a token from weights that need not sum to 1; at least one is positive. */
function draw(weights: Float64Array, sampler: Sampler): number {
  let total = 0;
  for (const weight of weights) total += weight;
  let left = sampler.random.uniform() * total;
  let last = 0;
  for (let token = 0; token < weights.length; token++) {
    if (weights[token] === 0) continue;
    left -= weights[token];
    last = token; // rounding can leave a little past the end
    if (left < 0) break;
  }
  return last;
}

/** Settings for typical acceptance. */
export interface TypicalOptions {
  /** ε: a token of at least this probability may always be accepted. Default 0.09. */
  readonly epsilon?: number;
  /** δ: in a flat distribution, a probability above δ·exp(−entropy) is enough. Default 0.3; √ε is recommended. */
  readonly delta?: number;
}

/** Keeps the entropy's logarithm finite; Medusa's constant. */
const entropyFloor = 1e-5;

/**
 * Typical acceptance (Medusa, arXiv 2401.10774, section 3.2): child x of an accepted node is accepted if p(x) > min(ε,
 * δ·exp(−H)), H = −Σ p ln(p + 1e−5), where p is the distribution that the sampler draws from. Takes the deepest accepted
 * node, on ties the one with the likeliest path, and draws the token after it. Not the base distribution: it trades
 * fidelity for longer paths. At temperature 0 it is greedy decoding.
 *
 * Paths are not padded; Medusa's own code pads them and can accept padding.
 *
 * @throws LinnetError `CONFIG` if ε or δ is not in 0…1
 * @example
 * ```ts
 * const method = speculative(lookupDrafter(), { acceptance: typical() });
 * ```
 */
export function typical({ epsilon = 0.09, delta = 0.3 }: TypicalOptions = {}): AcceptanceRule {
  for (const [name, value] of Object.entries({ epsilon, delta })) {
    if (!(value >= 0 && value <= 1)) throw new LinnetError('CONFIG', `${name} is ${value}, expected a number in 0…1`);
  }
  return async ({ draft, logits, text, sampler }) => {
    const { tree, tokens } = draft;
    const recent = recentText(text, sampler);
    const length = recent.length;
    const readPath = (node: number): void => {
      recent.length = length;
      for (const step of tree.pathTo(node).slice(1)) recent.push(tokens[step]);
    };
    const likelihood = new Map([[0, 0]]); // Σ ln p along each accepted node's path
    let best = 0;
    for (let node = 0; node < tree.size; node++) {
      const soFar = likelihood.get(node);
      if (soFar === undefined) continue;
      const deeper = tree.depths[node] - tree.depths[best];
      if (deeper > 0 || (deeper === 0 && soFar > (likelihood.get(best) ?? 0))) best = node;
      const children = childrenOf(draft, node);
      if (children.length === 0) continue;
      readPath(node);
      await sampler.ready(recent);
      const probabilities = sampler.probabilities(logits[node], recent);
      const threshold = Math.min(epsilon, delta * Math.exp(-entropy(probabilities)));
      for (const child of children) {
        const probability = probabilities[tokens[child]];
        if (probability > threshold) likelihood.set(child, soFar + Math.log(probability));
      }
    }
    readPath(best);
    await sampler.ready(recent);
    return { path: tree.pathTo(best), next: sampler.next(logits[best], recent) };
  };
}

function entropy(probabilities: Float64Array): number {
  let sum = 0;
  for (const p of probabilities) if (p > 0) sum -= p * Math.log(p + entropyFloor);
  return sum;
}

/** Rules by their names in requests. */
export const acceptanceRules: Readonly<Record<'exact' | 'rejection' | 'typical', () => AcceptanceRule>> = {
  exact: () => exact,
  rejection: () => rejection,
  typical: () => typical(),
};

/** A node's children in increasing order. */
function childrenOf({ tree }: Draft, node: number): number[] {
  const children: number[] = [];
  for (let child = node + 1; child < tree.size; child++) if (tree.parents[child] === node) children.push(child);
  return children;
}

/** As much of the text as the sampler reads, for appending: copies a long text only if it reads all of it. */
function recentText(text: readonly number[], { lookback }: Sampler): number[] {
  return text.slice(Math.max(0, text.length - lookback));
}
