/**
 * Log-likelihoods of token sequences' ends. States can be forked, so common beginnings, such as a task's examples or a
 * multiple-choice question, are read once. Sequences become a trie of tokens; small subtrees, even from several questions, run
 * as one forest in one step, which sees each path as if it stood alone.
 */
import { TokenTree } from '../../attention/tree.ts';
import { logSumExp, mostLogits } from '../../decoding/log-sum-exp.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { eventLoopTurn } from '../../runtime/program.ts';
import type { StepEngine, StepWeights } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import type { Model } from '../../models/model.ts';
import { leadsTo, type TextBefore } from '../prompt.ts';
import type { Score, ScorerOptions } from './scorer.ts';
import type { TokenSequence } from './token-sequences.ts';
import { argmax } from '../../graph/largest.ts';

/** Tokens per step: enough rows for fast products, few enough for masks, which take their square. */
const stepNodes = 256;
/** Steps whose logits are in memory at once: the engine's, their copy, and those awaiting collection (measured at 0.5B). */
const stepsHeld = 4;

/** Bytes of logits while texts are scored. */
export function scoredBytes({ sizes }: Pick<Model, 'sizes'>): number {
  return 4 * stepsHeld * Math.min(mostLogits, stepNodes * sizes.vocabulary);
}

/** Shorter prefixes are not kept: rereading them costs less than a fork. */
const shortestPrefix = 32;
/** Number of kept states: one for the current task, and one for another kind of request. */
const keptStates = 2;

/** A state that has read the beginning of many requests, such as a task's examples. Read-only: forks continue. */
interface KeptState extends TextBefore {
  readonly weights: StepWeights;
}

/** Scores sequences with an engine, which remains the caller's. */
export class SequenceScorer {
  /** Tokens to read if nothing were shared. */
  tokensAsked = 0;
  /** Tokens that the model read. */
  tokensRead = 0;
  readonly #engine: StepEngine;
  readonly #sharing: boolean;
  readonly #nodes: number;
  /** Latest first. */
  #kept: KeptState[] = [];

  /** @param sharing whether sequences share common prefixes; false measures what sharing saves */
  constructor(engine: StepEngine, sharing = true) {
    this.#engine = engine;
    this.#sharing = sharing;
    this.#nodes = Math.max(1, Math.min(stepNodes, Math.floor(mostLogits / engine.model.sizes.vocabulary)));
  }

  /** Number of tokens that all lists begin with, at most the number each allows; 0 if sharing does not pay. */
  sharedLength(lists: readonly (readonly number[])[], most: readonly number[]): number {
    if (!this.#sharing) return 0;
    const length = Math.min(commonPrefix(lists), ...most);
    return length < shortestPrefix ? 0 : length;
  }

  /**
   * A state that has read exactly these tokens. It is shared: fork it before committing anything to it.
   * @throws LinnetError `ABORTED` when the signal fires between two chunks
   */
  async prefixState(tokens: readonly number[], weights: StepWeights, signal?: AbortSignal): Promise<SequenceState> {
    if (tokens.length === 0) return this.#engine.newState();
    const usable = this.#kept
      .filter((kept) => kept.weights === weights && leadsTo(kept, [...tokens, -1]))
      .sort((a, b) => b.tokens.length - a.tokens.length);
    const best = usable.at(0);
    if (best?.tokens.length === tokens.length) return best.state;
    const state = best?.state.fork() ?? this.#engine.newState();
    const rest = tokens.slice(state.length);
    await this.#engine.prefill(state, rest, { weights, signal });
    this.tokensRead += rest.length;
    this.#kept = [{ tokens, weights, state }, ...this.#kept].slice(0, keptStates);
    return state;
  }

  /**
   * Scores sequences.
   * @param start a state that all of them continue; read-only. Default: an empty one
   * @throws LinnetError `ABORTED` by the signal, `MISMATCH` for a token outside the vocabulary
   */
  async score(
    sequences: readonly TokenSequence[],
    { signal, onProgress }: ScorerOptions = {},
    start?: SequenceState,
  ): Promise<Score[]> {
    if (sequences.length === 0) return [];
    const sums = sequences.map(() => ({ logLikelihood: 0, isGreedy: true, left: 0 }));
    sequences.forEach(({ tokens, scored }, index) => {
      sums[index].left = scored;
      this.tokensAsked += tokens.length - 1;
    });
    let done = 0;
    const take: TakeLogits = (sequence, logProbability, isBest) => {
      const sum = sums[sequence];
      sum.logLikelihood += logProbability;
      sum.isGreedy &&= isBest;
      if (--sum.left === 0) onProgress?.(++done, sequences.length);
    };
    if (this.#sharing) await this.#scoreTogether(sequences, take, signal, start);
    for (const [index, sequence] of this.#sharing ? [] : sequences.entries()) {
      const alone: TakeLogits = (_, logProbability, isBest) => take(index, logProbability, isBest);
      await this.#scoreTogether([sequence], alone, signal, start);
    }
    return sums.map(({ logLikelihood, isGreedy }) => ({ logLikelihood, isGreedy }));
  }

  async #scoreTogether(
    sequences: readonly TokenSequence[],
    take: TakeLogits,
    signal: AbortSignal | undefined,
    start: SequenceState | undefined,
  ): Promise<void> {
    const starts = sequences.map(({ tokens, scored }) => tokens.length - 1 - scored);
    const lists = sequences.map(({ tokens }) => tokens);
    const shared = start === undefined ? this.sharedLength(lists, starts) : 0;
    const state = start ?? (await this.prefixState(lists[0].slice(0, shared), 'step', signal));
    const trie = tokenTrie(sequences, shared);
    await this.#visit({ trie, take, signal }, state, childrenOf(trie, -1));
  }

  /** Runs subtrees that continue a state, which is only read. */
  async #visit(work: Scoring, state: SequenceState, roots: readonly number[]): Promise<void> {
    const { trie } = work;
    let packed: number[] = [];
    let size = 0;
    const flush = async (): Promise<void> => {
      const nodes = packed.flatMap((root) => range(root, trie.ends[root]));
      packed = [];
      size = 0;
      if (nodes.length > 0) await this.#run(work, state, nodes);
    };
    for (const root of roots) {
      const count = trie.ends[root] - root;
      if (count > this.#nodes) {
        const fork = state.fork();
        const last = await this.#readPath(work, fork, root);
        await this.#visit(work, fork, childrenOf(trie, last));
        continue;
      }
      if (size + count > this.#nodes) await flush();
      packed.push(root);
      size += count;
    }
    await flush();
  }

  /** Reads a path into a state until it branches or the rest fits into one step. Returns its last node. */
  async #readPath(work: Scoring, state: SequenceState, root: number): Promise<number> {
    const { trie } = work;
    let nodes = [root];
    for (let last = root; ; ) {
      const children = childrenOf(trie, last);
      const ends = children.length !== 1 || trie.ends[children[0]] - children[0] <= this.#nodes;
      if (ends || nodes.length === this.#nodes) {
        await this.#run(work, state, nodes, true);
        nodes = [];
      }
      if (ends) return last;
      [last] = children;
      nodes.push(last);
    }
  }

  /** One step over trie nodes. @param commit whether they are a path to commit to the state */
  async #run(work: Scoring, state: SequenceState, nodes: readonly number[], commit = false): Promise<void> {
    const { trie, take, signal } = work;
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while scoring');
    const indices = new Map(nodes.map((node, index) => [node, index]));
    const wanted = nodes.flatMap((node, index) => (trie.predictions[node] === undefined ? [] : [index]));
    const request = {
      state,
      tree: new TokenTree(nodes.map((node) => indices.get(trie.parents[node]) ?? -1)),
      tokens: nodes.map((node) => trie.tokens[node]),
      wanted: wanted.length === 0 ? [nodes.length - 1] : wanted,
    };
    const [output] = await this.#engine.step([request]);
    this.tokensRead += nodes.length;
    wanted.forEach((index, i) => {
      const logits = output.logits[i];
      const normalizer = logSumExp(logits);
      const best = argmax(logits);
      for (const { sequence, token } of trie.predictions[nodes[index]] ?? []) {
        take(sequence, logitOf(logits, token) - normalizer, token === best);
      }
    });
    if (commit) await this.#engine.commit(request, output, range(0, nodes.length));
    await eventLoopTurn();
  }
}

/** A running call of `score`. */
interface Scoring {
  readonly trie: SequenceTrie;
  readonly take: TakeLogits;
  readonly signal: AbortSignal | undefined;
}

/** Receives log p of one of a sequence's tokens, and whether no other was more probable. */
type TakeLogits = (sequence: number, logProbability: number, isBest: boolean) => void;

/** A token's logit. The step checks the tokens it reads; a sequence's last token is only predicted. */
function logitOf(logits: Float32Array, token: number): number {
  if (token >= 0 && token < logits.length) return logits[token];
  throw new LinnetError(
    'MISMATCH',
    `token ${token} is outside the model's vocabulary of ${logits.length}; the tokenizer is of another model`,
  );
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, index) => start + index);
}

/** A prediction wanted at a node: for which sequence, and which token really follows. */
export interface Prediction {
  /** The sequence's index. */
  readonly sequence: number;
  readonly token: number;
}

/** Nodes in depth-first order, so that a subtree is a range. A sequence's last token is only predicted and has no node. */
export interface SequenceTrie {
  readonly tokens: readonly number[];
  /** −1 for a root. */
  readonly parents: readonly number[];
  /** The node after the subtree's last one. */
  readonly ends: readonly number[];
  /** Predictions wanted at a node; undefined for none. */
  readonly predictions: readonly (readonly Prediction[] | undefined)[];
}

/** @param skipped leading tokens of all sequences that have already been read */
export function tokenTrie(sequences: readonly TokenSequence[], skipped: number): SequenceTrie {
  const tokens: number[] = [];
  const parents: number[] = [];
  const ends: number[] = [];
  const predictions: (Prediction[] | undefined)[] = [];
  const order = sequences.map((_, index) => index).sort((a, b) => compare(sequences[a].tokens, sequences[b].tokens));
  /** Nodes from a root to the last one added. */
  let path: number[] = [];
  const shorten = (length: number): void => {
    for (const node of path.splice(length)) ends[node] = tokens.length;
  };
  for (const index of order) {
    const { tokens: text, scored } = sequences[index];
    const nodes = text.length - 1 - skipped;
    let shared = 0;
    while (shared < path.length && shared < nodes && tokens[path[shared]] === text[skipped + shared]) shared++;
    shorten(shared);
    for (let depth = shared; depth < nodes; depth++) {
      parents.push(path.at(-1) ?? -1);
      path.push(tokens.length);
      tokens.push(text[skipped + depth]);
      ends.push(0);
      predictions.push(undefined);
    }
    for (let depth = text.length - 1 - scored - skipped; depth < nodes; depth++) {
      const node = path[depth];
      predictions[node] = [...(predictions[node] ?? []), { sequence: index, token: text[skipped + depth + 1] }];
    }
  }
  shorten(0);
  path = [];
  return { tokens, parents, ends, predictions };
}

/** A node's children, or a trie's roots for −1. */
export function childrenOf({ ends, tokens }: SequenceTrie, node: number): number[] {
  const children: number[] = [];
  const end = node < 0 ? tokens.length : ends[node];
  for (let child = node + 1; child < end; child = ends[child]) children.push(child);
  return children;
}

/** Number of tokens that all lists begin with. */
export function commonPrefix(lists: readonly (readonly number[])[]): number {
  const [first = []] = lists;
  let length = first.length;
  for (const list of lists) {
    let shared = 0;
    while (shared < length && list[shared] === first[shared]) shared++;
    length = shared;
  }
  return length;
}

function compare(first: readonly number[], second: readonly number[]): number {
  const length = Math.min(first.length, second.length);
  for (let i = 0; i < length; i++) if (first[i] !== second[i]) return first[i] - second[i];
  return first.length - second.length;
}
