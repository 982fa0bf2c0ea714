import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Files that start browsers, servers, package managers or workers that die. */
const alone = ['test/{browser,package,serving}/**/*.test.ts', 'src/runtime/worker.test.ts'];

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 60_000,
    // A test that returns before it has asserted anything fails.
    expect: { requireAssertions: true },
    // Processes: ONNX Runtime's native library does not share one well between worker threads.
    pool: 'forks',
    // One more than cores: some wait for a browser, a server or a pause.
    maxWorkers: 3,
    // These take all cores: models with threads of their own would wait for one another's.
    env: { LINNET_THREADS: '1' },
    // Workers that the code under test starts load TypeScript sources without vitest.
    execArgv: ['--import', fileURLToPath(new URL('./test/typescript-in-workers.mjs', import.meta.url))],
    projects: [
      {
        extends: true,
        test: { name: 'alone', include: alone },
      },
      {
        // In the same processes, one after the other: modules are loaded once, and not once for each file.
        extends: true,
        test: {
          name: 'together',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'web/**/*.test.ts'],
          exclude: alone,
          isolate: false,
        },
      },
    ],
  },
});
