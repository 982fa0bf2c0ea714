/** An optional part of session files: what drafters have learned, so that a text that goes on is drafted as before. */
import type { SavedLearning } from '../speculation/drafters/registry.ts';

/** A token and its successors. */
const rowLength = 9;

/** The tensors of the part, with `values` numbers of successors. */
export function learnedTensors(values: number) {
  return [
    { name: 'learned.successors', dtype: 'int32', shape: [Math.floor(values / rowLength), rowLength] },
    { name: 'learned.chances', dtype: 'float32', shape: [15, 2] },
  ] as const;
}

/** The fault of such numbers, as a message; undefined if there is none. @param vocabulary V */
export function learningProblem({ successors, chances }: SavedLearning, vocabulary: number): string | undefined {
  for (let at = 0; at < successors.length; at++) {
    const least = at % rowLength === 0 ? (successors[at - rowLength] ?? -1) + 1 : -1;
    const token = successors[at];
    if (token < least || token >= vocabulary) return `a successor table that has ${token} at place ${at}`;
  }
  for (let at = 0; at < chances.length; at += 2) {
    const [hits, tries] = chances.subarray(at, at + 2);
    if (!(hits >= 0 && hits <= tries && tries > 0 && tries <= 256))
      return `chances that count ${hits} of ${tries} guesses`;
  }
  return undefined;
}
