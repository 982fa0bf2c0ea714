/** A step engine's guesses, level by level: reads a level's nodes as a tree on top of its state, which stays unchanged. */
import { TokenTree } from '../../../attention/tree.ts';
import { requireCount } from '../../../files/arguments.ts';
import { largest } from '../../../graph/largest.ts';
import { logSumExp } from '../../log-sum-exp.ts';
import type { StepEngine, StepOutput, StepRequest } from '../../step-engine.ts';
import type { SequenceState } from '../../state/sequence-state.ts';
import type { Draft } from './drafter.ts';

/** Where guesses start: after a token that the state has read. */
export interface GuessStart {
  /** [V]. */
  readonly logits: Float32Array;
  /** [width]. */
  readonly hidden: Float32Array;
}

/** How far guesses go. */
export interface GuessBounds {
  /** Levels. */
  readonly depth: number;
  /** Nodes per level, from the likeliest paths. */
  readonly width: number;
  /** Smallest probability of a path. Default: any; a chain then computes none. */
  readonly least?: number;
}

/** @throws LinnetError `CONFIG` for a depth or width that is not a whole number ≥ 1 */
export function requireGuessBounds(bounds: GuessBounds): GuessBounds {
  for (const name of ['depth', 'width'] as const) requireCount(bounds[name], `${name} of the draft`, 1, 'CONFIG');
  return bounds;
}

/** A run over guesses; those that come true can be committed from it. */
export interface GuessRun {
  readonly request: StepRequest;
  readonly output: StepOutput;
}

interface Guess {
  readonly token: number;
  /** Its parent's index among the guesses, −1 for the root. */
  readonly parent: number;
  /** ln p of its path. */
  readonly score: number;
  /** Hidden state that predicted it [width]. */
  readonly before: Float32Array;
}

/** The draft below `root`, and the last run over its nodes, without the deepest level. */
export async function guessTree(
  engine: StepEngine,
  state: SequenceState,
  root: number,
  start: GuessStart,
  { depth, width, least }: GuessBounds,
): Promise<{ readonly draft: Draft; readonly lastRun: GuessRun | undefined }> {
  const likeliest = (nodes: readonly (GuessStart & Pick<Guess, 'parent' | 'score'>)[]): Guess[] => {
    const guesses = nodes.flatMap(({ logits, hidden, parent, score }) => {
      const total = width === 1 && least === undefined ? 0 : logSumExp(logits); // for a chain only the order counts
      return Array.from(largest(logits, width), (token) => ({
        token,
        parent,
        score: score + logits[token] - total,
        before: hidden,
      }));
    });
    const likely = least === undefined ? guesses : guesses.filter(({ score }) => score >= Math.log(least));
    return likely.sort((a, b) => b.score - a.score).slice(0, width);
  };
  const guesses = likeliest([{ ...start, parent: -1, score: 0 }]);
  let lastRun: GuessRun | undefined;
  for (let level = 1, first = 0; level < depth && first < guesses.length; level++) {
    const wanted = Array.from({ length: guesses.length - first }, (_, i) => first + i);
    const request: StepRequest = {
      state,
      tree: new TokenTree(guesses.map(({ parent }) => parent)), // on top of the root, which has been read
      tokens: guesses.map(({ token }) => token),
      wanted,
      before: guesses.map(({ before }) => before),
    };
    const [output] = await engine.step([request]);
    lastRun = { request, output };
    first = guesses.length;
    guesses.push(
      ...likeliest(
        wanted.map((parent, i) => ({
          logits: output.logits[i],
          hidden: output.hidden[i],
          parent,
          score: guesses[parent].score,
        })),
      ),
    );
  }
  const draft = {
    tree: new TokenTree([-1, ...guesses.map(({ parent }) => parent + 1)]),
    tokens: Int32Array.of(root, ...guesses.map(({ token }) => token)),
  };
  return { draft, lastRun };
}
