/** One token more in many sequences. */
import { chain } from '../../src/attention/tree.ts';
import type { DecodingEngine } from '../../src/decoding/engine.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';

/** Reads a token more in each of the sequences, in one step or one by one; gives the logits after them. */
export async function nextLogits(
  engine: DecodingEngine,
  tokens: readonly (readonly [SequenceState, number])[],
  alone = false,
): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  if (alone) {
    for (const [state, token] of tokens) found.push((await engine.advance(state, token)).logits);
    return found;
  }
  const requests = tokens.map(([state, token]) => ({ state, tree: chain(1), tokens: [token], wanted: [0] }));
  for (const [index, output] of (await engine.step(requests)).entries()) {
    await engine.commit(requests[index], output, [0]);
    found.push(output.logits[0]);
  }
  return found;
}
