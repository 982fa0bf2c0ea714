/** Folders that tests write into, gone when the tests are over. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, onTestFinished } from 'vitest';

/**
 * A folder for all tests of the file or `describe` block that calls this: its path, at once, for paths in it to be
 * constants. It exists from before their first `beforeAll` until after their last `afterAll`.
 */
export function suiteFolder(): string {
  const folder = join(tmpdir(), `linnet-${randomUUID()}`);
  beforeAll(async () => {
    await mkdir(folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A fresh folder for the test that runs (also from its `beforeEach`). */
export async function scratchFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'linnet-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
