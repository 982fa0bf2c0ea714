/** Reading text through the step form in any portions, keeping the output of every position. */
import { chain, TokenTree } from '../../attention/tree.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { Random } from '../../random.ts';

/** Output of a step for a node. */
export type NodeOutput = 'logits' | 'hidden';

/** Portions of tokens, each from 1 to `most`, that add up to `length`. */
export function randomPortions(length: number, most: number, random: Random): number[] {
  const portions: number[] = [];
  for (let left = length; left > 0; ) {
    const portion = Math.min(left, 1 + random.integer(most));
    portions.push(portion);
    left -= portion;
  }
  return portions;
}

/** Reads tokens into a state, a chain of `portions[i]` nodes at a time. Copies of all nodes' outputs, in order. */
export async function readPortions(
  engine: StepEngine,
  state: SequenceState,
  tokens: Int32Array,
  portions: readonly number[],
  output: NodeOutput,
): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  let start = 0;
  for (const portion of portions) {
    const wanted = Array.from({ length: portion }, (_, node) => node);
    const request = { state, tree: chain(portion), tokens: tokens.subarray(start, start + portion), wanted };
    const [step] = await engine.step([request]);
    rows.push(...step[output].map((row) => row.slice()));
    await engine.commit(request, step, wanted);
    start += portion;
  }
  return rows;
}

/** Outputs of all nodes of a tree behind a state, which stays as it is. */
export async function readTree(
  engine: StepEngine,
  state: SequenceState,
  tree: TokenTree,
  tokens: Int32Array,
  output: NodeOutput,
): Promise<readonly Float32Array[]> {
  const wanted = Array.from({ length: tree.size }, (_, node) => node);
  const [step] = await engine.step([{ state, tree, tokens, wanted }]);
  return step[output];
}

/** A random forest that is mostly deep, so that its paths cross an edge that is a few positions away. */
export function randomForest(size: number, random: Random): TokenTree {
  return new TokenTree(Array.from({ length: size }, (_, node) => Math.max(-1, node - 1 - random.integer(3))));
}
