/** Holds documents out of training, to measure on unseen text. */
import { LinnetError } from '../../errors.ts';

/** Documents for training and for measuring. */
export interface DocumentSplit<T> {
  readonly training: T[];
  readonly heldOut: T[];
}

/**
 * Holds out the last documents. Depends on nothing else, so a split can be repeated and described.
 * @param options.heldOut a number of documents (an integer), or a fraction of them (between 0 and 1, both excluded; rounded,
 *   at least one document). 0 holds none out.
 * @throws LinnetError `INPUT` if it is neither, or leaves no document for training.
 */
export function splitDocuments<T>(documents: readonly T[], options: { readonly heldOut: number }): DocumentSplit<T> {
  const { heldOut } = options;
  const isFraction = heldOut > 0 && heldOut < 1;
  if (!isFraction && !(Number.isInteger(heldOut) && heldOut >= 0)) {
    throw new LinnetError('INPUT', `cannot hold out ${heldOut}; expected a number of documents or a fraction below 1`);
  }
  const count = isFraction ? Math.max(1, Math.round(heldOut * documents.length)) : heldOut;
  if (count >= documents.length) {
    throw new LinnetError('INPUT', `holding out ${count} of ${documents.length} documents leaves none for training`);
  }
  const boundary = documents.length - count;
  return { training: documents.slice(0, boundary), heldOut: documents.slice(boundary) };
}
