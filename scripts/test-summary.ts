/**
 * Prints one line, `vitest: 321 passed, 0 failed, 4 skipped`, from the report of Vitest's JSON reporter.
 *
 *     npx tsx scripts/test-summary.ts REPORT.json
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) })),
});

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: test-summary.ts REPORT.json');

const report = reportSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
// A file that cannot even be loaded fails without any test of its own; it counts as one.
const brokenFiles = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
).length;
const failed = report.numFailedTests + brokenFiles;
const skipped = report.numPendingTests + report.numTodoTests;
console.log(`vitest: ${report.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
