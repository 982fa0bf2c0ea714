/** Sessions on a disk that is full: the client reads why, and nothing is left behind. A module is mocked, which needs a process of its own. */
import { readdirSync } from 'node:fs';
import { expect, it, vi } from 'vitest';
import { randomParameters, tinyLlama } from '../models/tiny-llama.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { asApiError } from '../../src/serving/http/api-error.ts';
import { folderStore } from '../../src/serving/sessions/folder-store.ts';

vi.mock(import('../../src/files/atomic.ts'), async (original) => {
  const { fileError } = await import('../../src/files/regular-file.ts');
  const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  return { ...(await original()), createFileAtomic: (path) => Promise.reject(fileError('create', path, full)) };
});

it('answers 507 with a reason, and leaves no folder', async () => {
  const described = tinyLlama([{ kind: 'softmax' }]);
  await using engine = await DecodingEngine.create(described, randomParameters(described, 1), { threads: 1 });
  const folder = await scratchFolder();
  const store = await folderStore(folder, { engine, fingerprint: 'f'.repeat(64) });
  const session = { state: engine.newState(), tokens: [1] };
  const failure: unknown = await store
    .write({ owner: '', id: 'one' }, session, { expected: 0 })
    .catch((e: unknown) => e);
  const { status, message } = asApiError(failure);
  expect([status, message]).toEqual([507, expect.stringContaining('no disk space left')]);
  expect(readdirSync(folder)).toEqual([]);
});
