/** Where tests find data: golden numbers inside the project, third-party fixtures next to it. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const projectRoot = resolve(fileURLToPath(import.meta.url), '../..');

/** A folder of `test/golden`, for example `golden('tree_chain5')`. */
export function golden(name: string): string {
  return resolve(projectRoot, 'test/golden', name);
}

/**
 * A path inside the third-party fixtures (`LINNET_FIXTURES`, else `../shared/fixtures` next to the project), or
 * undefined where they are absent: skip the test then, with a name that says so.
 */
export function thirdParty(path: string): string | undefined {
  const folder = process.env.LINNET_FIXTURES ?? resolve(projectRoot, '../shared/fixtures');
  const found = resolve(folder, path);
  return existsSync(found) ? found : undefined;
}

/** A path that is there, in tests that are skipped where it is not. @throws Error if such a test runs nevertheless */
export function present(path: string | undefined): string {
  if (path === undefined) throw new Error('a fixture is absent: the test that needs it should have been skipped');
  return path;
}
