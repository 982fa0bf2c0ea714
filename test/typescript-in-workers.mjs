/**
 * Lets worker threads load TypeScript, which Node runs by itself from version 22.18 on only. Test files do not need it
 * (vitest transforms them), but a worker that they start loads its modules without vitest. Preloaded with
 * `node --import`, which workers inherit.
 */
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

if (!isMainThread && process.features.typescript === undefined) {
  register(new URL('./typescript-hooks.mjs', import.meta.url));
}
