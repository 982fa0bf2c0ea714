/** Packages that only some users need and install themselves. */
import { LinnetError } from '../errors.ts';

/**
 * Loads an optional package.
 * @param need the feature that needs it, for the error
 * @throws LinnetError `NOT_FOUND` that names the package to install
 */
export async function loadOptional<T>(load: () => Promise<T>, name: string, need: string): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    throw new LinnetError(
      'NOT_FOUND',
      `${need} needs the package ${name}, which is not installed: npm install ${name}`,
      { cause },
    );
  }
}
