import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const all = '{src,test,web}/**/*.test.ts';
const engine = '{src,test,web}/**/*.engine.test.ts';
const system = '{src,test,web}/**/*.system.test.ts';
/** Files that start browsers, servers or package managers. */
const alone = 'test/{browser,package,serving}/**/*.system.test.ts';
/** In the same processes, one file after the other: modules are loaded once, and not once for each file. */
const together = { isolate: false };
/** These compute all the time: a process more than cores would only load all modules once more. */
const computing = { ...together, maxWorkers: Math.min(availableParallelism(), 8) };
/** One more than two cores: some wait for a browser, a server or a pause. */
const waiting = { maxWorkers: 3, sequence: { groupOrder: 1 } };

/** Where .ci/run wants the results as JSON. */
const report = process.env.LINNET_TEST_REPORT;

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 60_000,
    setupFiles: [path('./test/equal-bytes.ts')],
    // A test that returns before it has asserted anything fails.
    expect: { requireAssertions: true },
    // Processes: ONNX Runtime's native library does not share one well between worker threads.
    pool: 'forks',
    // These take all cores: models with threads of their own would wait for one another's.
    env: { LINNET_THREADS: '1' },
    // Room for garbage that dies young, and for workers that the code under test starts, which load TypeScript without vitest.
    execArgv: ['--max-semi-space-size=64', '--import', path('./test/typescript-in-workers.mjs')],
    reporters: ['default', './test/slow-files.ts', ...(report === undefined ? [] : ['json'])],
    outputFile: { json: report ?? '' },
    projects: [
      {
        extends: true,
        test: { ...computing, name: 'pure', include: [all], exclude: [engine, system] },
        resolve: { alias: { 'onnxruntime-node': path('./test/no-engine.ts') } },
      },
      { extends: true, test: { ...computing, name: 'engine', include: [engine] } },
      { extends: true, test: { ...together, ...waiting, name: 'system', include: [system], exclude: [alone] } },
      // Real servers and browsers on a machine that others may use: a test that fails once runs again, and the log says so.
      { extends: true, test: { ...waiting, name: 'system-alone', include: [alone], retry: 1 } },
    ],
  },
});
