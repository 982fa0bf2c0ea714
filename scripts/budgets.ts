/**
 * Prints the lines of each folder of src beside its budget. With --write, budgets.json gets lower numbers where folders have
 * become smaller; it never raises one.
 *
 *     npx tsx scripts/budgets.ts [--write]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { projectRoot } from './entries.ts';
import { linesByFolder } from './source-tree.ts';

const path = join(projectRoot, 'budgets.json');
const schema = z.looseObject({ total: z.number(), folders: z.record(z.string(), z.number()) });

const budgets = schema.parse(JSON.parse(readFileSync(path, 'utf8')));
const lines = linesByFolder();
const total = [...lines.values()].reduce((sum, count) => sum + count, 0);
for (const folder of new Set([...Object.keys(budgets.folders), ...lines.keys()])) {
  console.log(`${folder.padEnd(14)} ${lines.get(folder) ?? 0} of ${budgets.folders[folder] ?? 0}`);
}
console.log(`${'total'.padEnd(14)} ${total} of ${budgets.total}`);

if (process.argv.includes('--write')) {
  const lowered = Object.entries(budgets.folders)
    .filter(([folder]) => lines.has(folder))
    .map(([folder, most]) => [folder, Math.min(most, lines.get(folder) ?? 0)] as const);
  const next = { ...budgets, total: Math.min(budgets.total, total), folders: Object.fromEntries(lowered) };
  writeFileSync(path, `${JSON.stringify(next, undefined, 2)}\n`);
}
