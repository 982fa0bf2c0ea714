/** Hypotheses of a beam search as states of an engine: the requests of the step that extends each by its next token. */
import { chain } from '../../attention/tree.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepRequest } from '../../decoding/step-engine.ts';

const oneNode = chain(1);

/** The next token of every hypothesis. */
export interface HypothesisRequests {
  /** One per different hypothesis; its state becomes the hypothesis's state when node 0 is committed. */
  readonly requests: readonly StepRequest[];
  /** Which of the requests each hypothesis has. */
  readonly places: readonly number[];
}

/**
 * Lets hypotheses read a token each. Those that are equal, repeated to fill up the beams of a text, are read once.
 * @param states of the hypotheses so far; equal hypotheses share one
 * @param parents index of the state that each continues
 * @param tokens the token that each reads
 * @param kept a state that stays as it is; all others are taken over by their last continuation
 */
export function hypothesisRequests(
  states: readonly SequenceState[],
  parents: readonly number[],
  tokens: readonly number[],
  kept?: SequenceState,
): HypothesisRequests {
  const children: { parent: SequenceState; token: number }[] = [];
  const known = new Map<SequenceState, Map<number, number>>();
  const places = parents.map((from, b) => {
    const [parent, token] = [states[from], tokens[b]];
    const ofParent = known.get(parent) ?? new Map<number, number>();
    known.set(parent, ofParent);
    const place = ofParent.get(token) ?? children.push({ parent, token }) - 1;
    ofParent.set(token, place);
    return place;
  });
  // The last child of a hypothesis takes its state over, the others copy it.
  const left = new Map([...known].map(([parent, ofParent]) => [parent, ofParent.size]));
  const requests = children.map(({ parent, token }) => {
    const others = (left.get(parent) ?? 1) - 1;
    left.set(parent, others);
    const state = others === 0 && parent !== kept ? parent : parent.fork();
    return { state, tree: oneNode, tokens: [token], wanted: [0] };
  });
  return { requests, places };
}
