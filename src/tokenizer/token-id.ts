/** Checking token ids that come from outside. */
import { LinnetError } from '../errors.ts';

/**
 * Refuses values that cannot be token ids.
 * @throws LinnetError `INPUT` if `id` is not a non-negative integer.
 */
export function checkTokenId(id: number): void {
  if (!Number.isInteger(id) || id < 0) {
    throw new LinnetError(
      'INPUT',
      `${typeof id === 'number' ? id : typeof id} is not a token id; expected a non-negative integer`,
    );
  }
}
