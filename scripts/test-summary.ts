/**
 * Prints one line, `321 passed, 0 failed, 4 skipped`, the sum of Vitest's JSON reports. A missing report
 * means a broken run, and counts as a failure.
 *
 *     npx tsx scripts/test-summary.ts REPORT.json…
 */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) })),
});

const paths = process.argv.slice(2);
if (paths.length === 0) throw new Error('usage: test-summary.ts REPORT.json…');

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const path of paths) {
  if (!existsSync(path)) {
    sum.failed++;
    continue;
  }
  const report = reportSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  // A file that fails to load has no failed test of its own; count it as one.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
  ).length;
  sum.passed += report.numPassedTests;
  sum.failed += report.numFailedTests + brokenFiles;
  sum.skipped += report.numPendingTests + report.numTodoTests;
}
console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ''}`);
