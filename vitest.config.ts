import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'web/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    // A test that returns before it has asserted anything fails.
    expect: { requireAssertions: true },
    // Each file gets a process of its own: ONNX Runtime's native library does not share one well between worker threads.
    pool: 'forks',
    maxWorkers: 2,
    // Workers that the code under test starts load TypeScript sources without vitest.
    execArgv: ['--import', fileURLToPath(new URL('./test/typescript-in-workers.mjs', import.meta.url))],
  },
});
